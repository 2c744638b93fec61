import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What the scenarios share: clients with the same settings, waiting, and talking to the driver. */
final class Context {
    final String namesrv = System.getProperty("namesrv");
    final String topic = System.getProperty("topic");
    private final AtomicInteger instances = new AtomicInteger();
    private final BufferedReader driver = new BufferedReader(new InputStreamReader(System.in));

    static final class Failed extends RuntimeException {
        Failed(String why) {
            super(why);
        }
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    interface Consumption {
        void consumed(MessageExt message);
    }

    static void check(boolean holds, String format, Object... values) {
        if (!holds) {
            throw new Failed(String.format(format, values));
        }
    }

    static void eventually(int seconds, String what, Condition condition) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.holds()) {
            check(System.nanoTime() < end, "not within %d s: %s", seconds, what);
            Thread.sleep(50);
        }
    }

    static void info(String format, Object... values) {
        System.out.println("INFO " + String.format(format, values));
    }

    /** Has the driver do something to the servers; returns when it is done. */
    void point(String what) throws IOException {
        System.out.println("POINT " + what);
        System.out.flush();
        check(driver.readLine() != null, "the driver is gone at point %s", what);
    }

    String topic(String suffix) {
        return topic + "_" + suffix;
    }

    String group(String suffix) {
        return "GID_" + topic + "_" + suffix;
    }

    private String instance() {
        return topic + "_" + instances.incrementAndGet();
    }

    /** Timeouts are generous, so that a busy machine does not count as a failure of the protocol. */
    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PID_" + topic);
        producer.setNamesrvAddr(namesrv);
        producer.setMqClientApiTimeout(15_000);
        producer.setInstanceName(instance());
        producer.setSendMsgTimeout(10_000);
        producer.setPollNameServerInterval(5_000);
        producer.start();
        return producer;
    }

    DefaultMQPullConsumer puller(String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setMqClientApiTimeout(15_000);
        consumer.setInstanceName(instance());
        consumer.start();
        return consumer;
    }

    DefaultMQPushConsumer pusher(String group, String topic, String expression, Consumption consumption) throws Exception {
        return pusher(group, topic, expression, instance(), (messages, context) -> {
            messages.forEach(consumption::consumed);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    /** Not started yet. */
    DefaultMQPushConsumer pusher(String group, String topic, String expression, String instance, MessageListenerConcurrently listener)
        throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setMqClientApiTimeout(15_000);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(5_000);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener(listener);
        return consumer;
    }

    /** The enum of the message model lives in different packages in 4.x and 5.x. */
    static void broadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (java.lang.reflect.Method method : consumer.getClass().getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                for (Object model : method.getParameterTypes()[0].getEnumConstants()) {
                    if (model.toString().equals("BROADCASTING")) {
                        method.invoke(consumer, model);
                        return;
                    }
                }
            }
        }
        throw new Failed("no setMessageModel");
    }

    static Set<MessageQueue> held(DefaultMQPushConsumer consumer, String topic) {
        Set<MessageQueue> queues = new HashSet<>();
        for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                queues.add(queue);
            }
        }
        return queues;
    }

    /** Waits until the members hold all queues of the topic, each exactly once and nobody none. */
    static void settled(List<DefaultMQPushConsumer> members, String topic, int queues) throws Exception {
        eventually(60, "the group holds " + queues + " queues, each once", () -> {
            Set<MessageQueue> all = new HashSet<>();
            int sum = 0;
            for (DefaultMQPushConsumer member : members) {
                Set<MessageQueue> own = held(member, topic);
                if (own.isEmpty()) {
                    return false;
                }
                sum += own.size();
                all.addAll(own);
            }
            return sum == queues && all.size() == queues;
        });
    }

    /** Waits until the broker has the offset of everything this only member of a group has consumed. */
    static void committed(DefaultMQPushConsumer consumer, DefaultMQPullConsumer puller, String topic) throws Exception {
        eventually(30, "the offsets of the group reach the ends of " + topic, () -> {
            for (MessageQueue queue : held(consumer, topic)) {
                long committed = consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE);
                if (committed != puller.maxOffset(queue)) {
                    return false;
                }
            }
            return true;
        });
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, "key-" + body, body.getBytes(StandardCharsets.UTF_8));
    }

    static String text(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Everything in a queue from an offset on, by pulls that do not wait; the offsets must be dense. */
    static List<MessageExt> all(DefaultMQPullConsumer puller, MessageQueue queue, long from) throws Exception {
        List<MessageExt> messages = new ArrayList<>();
        long offset = from;
        for (;;) {
            PullResult result = puller.pull(queue, "*", offset, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                check(result.getPullStatus() == PullStatus.NO_NEW_MSG, "%s at %d: %s", queue, offset, result);
                return messages;
            }
            for (MessageExt message : result.getMsgFoundList()) {
                check(message.getQueueOffset() == offset, "%s: offset %d where %d was due", queue, message.getQueueOffset(), offset);
                messages.add(message);
                offset++;
            }
            check(result.getNextBeginOffset() == offset, "%s: next %d after %d", queue, result.getNextBeginOffset(), offset);
        }
    }
}
