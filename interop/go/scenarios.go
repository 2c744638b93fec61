package main

import (
	"bytes"
	stdcontext "context"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Short, because every callback of the client takes one.
type context = stdcontext.Context

var background = stdcontext.Background()

func newPuller(group string) (rocketmq.PullConsumer, error) {
	c, err := rocketmq.NewPullConsumer(consumer.WithNameServer(namesrv), consumer.WithGroupName("GID_"+topic+"_"+group),
		consumer.WithInstance(instance()))
	if err != nil {
		return nil, err
	}
	if err = c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
		return nil, err
	}
	return c, c.Start()
}

func queue(id int) *primitive.MessageQueue {
	return &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a", QueueId: id}
}

// all reads a queue from its start; the offsets must be dense.
func all(c rocketmq.PullConsumer, q *primitive.MessageQueue) ([]*primitive.MessageExt, error) {
	var messages []*primitive.MessageExt
	for next := int64(0); ; {
		result, err := c.PullFrom(background, q, next, 32)
		if err != nil {
			return nil, err
		}
		if result.Status != primitive.PullFound {
			return messages, nil
		}
		for _, m := range result.GetMessageExts() {
			if m.QueueOffset != next {
				return nil, fmt.Errorf("%v: offset %d where %d was due", q, m.QueueOffset, next)
			}
			messages = append(messages, m)
			next++
		}
		// One more pull would be held for 20 s.
		if next >= result.MaxOffset {
			return messages, nil
		}
	}
}

// sends covers every way to send, then reads everything back.
func sends() error {
	p, err := newProducer()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	places := map[string]string{} // body to queue@offset; empty where nobody knows
	acknowledged := func(body string, r *primitive.SendResult, err error) error {
		if err != nil {
			return fmt.Errorf("%s: %w", body, err)
		}
		if r.Status != primitive.SendOK {
			return fmt.Errorf("%s: %v", body, r)
		}
		mu.Lock()
		defer mu.Unlock()
		places[body] = fmt.Sprintf("%d@%d", r.MessageQueue.QueueId, r.QueueOffset)
		return nil
	}
	for i := 0; i < 10*queues; i++ {
		body := fmt.Sprintf("sync-%d", i)
		r, err := p.SendSync(background, message("TagA", body))
		if err = acknowledged(body, r, err); err != nil {
			return err
		}
	}
	var answers sync.WaitGroup
	failures := make(chan error, 200)
	for i := 0; i < 200; i++ {
		body := fmt.Sprintf("async-%d", i)
		answers.Add(1)
		err = p.SendAsync(background, func(_ context, r *primitive.SendResult, err error) {
			defer answers.Done()
			if err = acknowledged(body, r, err); err != nil {
				failures <- err
			}
		}, message("TagB", body))
		if err != nil {
			return err
		}
	}
	answers.Wait()
	select {
	case err = <-failures:
		return err
	default:
	}
	for i := 0; i < 50; i++ {
		body := fmt.Sprintf("oneway-%d", i)
		if err = p.SendOneWay(background, message("TagA", body)); err != nil {
			return err
		}
		mu.Lock()
		places[body] = ""
		mu.Unlock()
	}
	var batch []*primitive.Message
	for i := 0; i < 20; i++ {
		batch = append(batch, message("TagC", fmt.Sprintf("batch-%d", i)))
	}
	r, err := p.SendSync(background, batch...)
	if err != nil || r.Status != primitive.SendOK {
		return fmt.Errorf("batch: %v %v", r, err)
	}
	for i := range batch {
		places[fmt.Sprintf("batch-%d", i)] = fmt.Sprintf("%d@%d", r.MessageQueue.QueueId, r.QueueOffset+int64(i))
	}
	long := bytes.Repeat([]byte("compressed "), 20000)
	noise := make([]byte, 3<<20)
	rand.New(rand.NewSource(7)).Read(noise)
	for _, body := range [][]byte{long, noise} {
		r, err := p.SendSync(background, primitive.NewMessage(topic, body))
		if err = acknowledged(string(body), r, err); err != nil {
			return fmt.Errorf("%d bytes: %w", len(body), err)
		}
	}
	chosen, err := newProducer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	if err != nil {
		return err
	}
	m := message("TagA", "chosen")
	m.Queue = queue(5)
	r, err = chosen.SendSync(background, m)
	if err = acknowledged("chosen", r, err); err != nil {
		return err
	}
	if r.MessageQueue.QueueId != 5 {
		return fmt.Errorf("chosen queue 5: %v", r)
	}

	c, err := newPuller("reader")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	read := func() error {
		seen = map[string]bool{}
		for id := 0; id < queues; id++ {
			messages, err := all(c, queue(id))
			if err != nil {
				return err
			}
			for _, m := range messages {
				body := string(m.Body)
				place, known := places[body]
				here := fmt.Sprintf("%d@%d", id, m.QueueOffset)
				if !known || seen[body] || place != "" && place != here {
					return fmt.Errorf("%.20q at %s, acknowledged at %q, known %v", body, here, place, known)
				}
				if len(body) < 100 && m.GetKeys() != "key-"+body {
					return fmt.Errorf("keys of %s: %q", body, m.GetKeys())
				}
				seen[body] = true
			}
		}
		return nil
	}
	if waited := eventually(30, "everything is stored", func() bool {
		err = read()
		return err != nil || len(seen) == len(places)
	}); err == nil {
		err = waited
	}
	if err != nil {
		return fmt.Errorf("%d of %d read back: %w", len(seen), len(places), err)
	}
	return first(c.Shutdown(), chosen.Shutdown(), p.Shutdown())
}

// tags: "Aa" and "BB" have the same hash in the broker, so only the client tells them apart.
func tags() error {
	p, err := newProducer()
	if err != nil {
		return err
	}
	names := []string{"TagA", "TagB", "TagC", "Aa", "BB"}
	for i := 0; i < 100; i++ {
		if _, err = p.SendSync(background, message(names[i%5], fmt.Sprintf("m%d", i))); err != nil {
			return err
		}
	}
	wanted := map[string]map[string]bool{
		"TagA": {"TagA": true}, "TagA || TagB": {"TagA": true, "TagB": true}, "Aa": {"Aa": true},
	}
	for expression, want := range wanted {
		var wrong atomic.Value
		m, err := newMember(fmt.Sprintf("tags%d", len(expression)), instance(), expression, func(m *primitive.MessageExt) {
			if !want[m.GetTags()] {
				wrong.Store(m.GetTags())
			}
		})
		if err != nil {
			return err
		}
		if err = eventually(60, expression, func() bool { return m.distinct() == 20*len(want) }); err != nil {
			return err
		}
		if tag := wrong.Load(); tag != nil {
			return fmt.Errorf("%s got %v", expression, tag)
		}
		if err = m.Shutdown(); err != nil {
			return err
		}
	}
	return p.Shutdown()
}

// pull: the statuses of pulls at the ends of a queue, and a committed offset.
func pull() error {
	p, err := newProducer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	if err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		m := message("TagA", fmt.Sprintf("m%d", i))
		m.Queue = queue(2)
		if _, err = p.SendSync(background, m); err != nil {
			return err
		}
	}
	c, err := newPuller("pull")
	if err != nil {
		return err
	}
	cases := []struct {
		offset int64
		status primitive.PullStatus
		next   int64
		count  int
	}{
		{0, primitive.PullFound, 32, 32}, {97, primitive.PullFound, 100, 3}, {100, primitive.PullNoNewMsg, 100, 0},
		{111, primitive.PullOffsetIllegal, 100, 0},
	}
	for _, want := range cases {
		r, err := c.PullFrom(background, queue(2), want.offset, 32)
		if err != nil {
			return fmt.Errorf("pull at %d: %w", want.offset, err)
		}
		if r.Status != want.status || r.NextBeginOffset != want.next || len(r.GetMessageExts()) != want.count {
			return fmt.Errorf("pull at %d: %v, next %d, %d messages", want.offset, r.Status, r.NextBeginOffset, len(r.GetMessageExts()))
		}
	}
	return first(c.Shutdown(), p.Shutdown())
}

// broadcast: each member gets everything.
func broadcast() error {
	p, err := newProducer()
	if err != nil {
		return err
	}
	for i := 0; i < 200; i++ {
		if _, err = p.SendSync(background, message("TagA", fmt.Sprintf("m%d", i))); err != nil {
			return err
		}
	}
	for i := 0; i < 2; i++ {
		m, err := newMember("broadcast", instance(), "*", nil, consumer.WithConsumerModel(consumer.BroadCasting))
		if err != nil {
			return err
		}
		if err = eventually(60, "200 messages for each member", func() bool { return m.distinct() == 200 }); err != nil {
			return err
		}
		defer m.Shutdown()
	}
	return p.Shutdown()
}

// group: three members, one leaves and another joins while messages flow; nothing is lost.
func group() error {
	const total = 10000
	p, err := newProducer()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(m *primitive.MessageExt) {
		mu.Lock()
		defer mu.Unlock()
		seen[string(m.Body)]++
	}
	distinct := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	var members []*member
	join := func() error {
		m, err := newMember("members", instance(), "*", note)
		members = append(members, m)
		return err
	}
	for i := 0; i < 3; i++ {
		if err = join(); err != nil {
			return err
		}
	}
	failed := make(chan error, 1)
	go func() {
		var batch []*primitive.Message
		for i := 0; i < total; i++ {
			batch = append(batch, message("TagA", fmt.Sprintf("m%d", i)))
			if len(batch) == 20 {
				if _, err := p.SendSync(background, batch...); err != nil {
					failed <- err
					return
				}
				batch = nil
				time.Sleep(10 * time.Millisecond)
			}
		}
		failed <- nil
	}()
	if err = eventually(60, "the group consumes", func() bool { return distinct() > total/10 }); err != nil {
		return err
	}
	if err = members[0].Shutdown(); err != nil {
		return err
	}
	if err = join(); err != nil {
		return err
	}
	if err = <-failed; err != nil {
		return err
	}
	if err = eventually(120, "all messages consumed", func() bool { return distinct() == total }); err != nil {
		return fmt.Errorf("%w: %d", err, distinct())
	}
	for _, m := range members[1:] {
		if err = m.Shutdown(); err != nil {
			return err
		}
	}
	return p.Shutdown()
}

// restart: the broker goes away and comes back; the clients go on by themselves.
func restart() error {
	p, err := newProducer(producer.WithSendMsgTimeout(3 * time.Second))
	if err != nil {
		return err
	}
	m, err := newMember("restart", instance(), "*", nil)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			body := fmt.Sprintf("m%d", i)
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := p.SendSync(background, message("TagA", body))
				if err == nil && r.Status == primitive.SendOK {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			mu.Lock()
			acknowledged[body] = true
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for _, outage := range []string{"", "stop-and-start", "kill-and-start"} {
		if outage != "" {
			if err = point(outage); err != nil {
				return err
			}
		}
		goal := count() + 300
		if err = eventually(90, "300 more messages acknowledged after "+outage, func() bool { return count() >= goal }); err != nil {
			return err
		}
	}
	close(stop)
	<-done
	return first(eventually(90, "everything acknowledged is consumed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		for body := range acknowledged {
			if m.seen[body] == 0 {
				return false
			}
		}
		return true
	}), m.Shutdown(), p.Shutdown())
}
