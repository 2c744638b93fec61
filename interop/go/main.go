// Scenarios on the official Go client: `scenarios NAME` with the name server in NAMESRV and a topic of 8 queues in TOPIC.
// Prints PASS or FAIL and why; exit status 0 or 1. A scenario that needs something done to the servers prints
// "POINT what" and waits for a line on standard input.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const queues = 8

var (
	topic     = os.Getenv("TOPIC")
	namesrv   = primitive.NamesrvAddr(strings.Split(os.Getenv("NAMESRV"), ";"))
	driver    = bufio.NewReader(os.Stdin)
	instances int
)

func main() {
	rlog.SetLogLevel("error")
	scenarios := map[string]func() error{
		"sends": sends, "tags": tags, "pull": pull, "broadcast": broadcast, "group": group, "restart": restart,
	}
	name := ""
	if len(os.Args) == 2 {
		name = os.Args[1]
	}
	scenario, known := scenarios[name]
	if !known {
		fmt.Println("FAIL no scenario", name)
		os.Exit(2)
	}
	if err := scenario(); err != nil {
		fmt.Println("FAIL", name, strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	fmt.Println("PASS", name)
}

// point has the driver do something to the servers; returns when it is done.
func point(what string) error {
	fmt.Println("POINT", what)
	_, err := driver.ReadString('\n')
	return err
}

// first is the first failure, if there was any. (errors.Join needs a newer Go than Debian 12 has.)
func first(failures ...error) error {
	for _, failure := range failures {
		if failure != nil {
			return failure
		}
	}
	return nil
}

func eventually(seconds int, what string, holds func() bool) error {
	for end := time.Now().Add(time.Duration(seconds) * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %d s: %s", seconds, what)
		}
	}
	return nil
}

func instance() string {
	instances++
	return fmt.Sprintf("%s-%d-%d", topic, os.Getpid(), instances)
}

// newProducer has a generous timeout, so that a busy machine does not count as a failure of the protocol.
func newProducer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append([]producer.Option{producer.WithNameServer(namesrv), producer.WithGroupName("PID_" + topic),
		producer.WithInstanceName(instance()), producer.WithSendMsgTimeout(10 * time.Second)}, options...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

// A member of a push group that notes what it is given.
type member struct {
	rocketmq.PushConsumer
	mu   sync.Mutex
	seen map[string]int
	last time.Time
}

func (m *member) distinct() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.seen)
}

func newMember(group, name, expression string, note func(*primitive.MessageExt), options ...consumer.Option) (*member, error) {
	options = append([]consumer.Option{consumer.WithNameServer(namesrv), consumer.WithGroupName("GID_" + topic + "_" + group),
		consumer.WithInstance(name), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	m := &member{PushConsumer: c, seen: map[string]int{}}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	err = c.Subscribe(topic, selector, func(_ context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, message := range messages {
			m.seen[string(message.Body)]++
			m.last = time.Now()
			if note != nil {
				note(message)
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, err
	}
	return m, c.Start()
}

func message(tag, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	return m.WithTag(tag).WithKeys([]string{"key-" + body})
}
