import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that ask for messages: the old pull consumer and the lite pull consumer. */
class Pulls {
    private static final int QUEUES = 8;

    static void pull(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        DefaultMQPullConsumer puller = c.puller(c.group("pull"));
        MessageQueue queue = new TreeSet<>(puller.fetchSubscribeMessageQueues(c.topic)).first();
        long base = puller.maxOffset(queue);
        Context.check(base == 0, "a new queue ends at %d", base);
        status(puller.pull(queue, "*", 0, 32), PullStatus.NO_NEW_MSG, 0, "an empty queue");
        status(puller.pull(queue, "*", 9, 32), PullStatus.OFFSET_ILLEGAL, 0, "beyond an empty queue");
        for (int i = 0; i < 100; i++) {
            producer.send(Context.message(c.topic, "TagA", "m" + i), queue);
        }
        PullResult first = puller.pull(queue, "*", 0, 32);
        status(first, PullStatus.FOUND, 32, "the first pull");
        Context.check(first.getMsgFoundList().size() == 32, "the first pull has %d", first.getMsgFoundList().size());
        Context.check(first.getMinOffset() == 0 && first.getMaxOffset() == 100, "ends of the first pull: %s", first);
        status(puller.pull(queue, "*", 97, 32), PullStatus.FOUND, 100, "the last three");
        status(puller.pull(queue, "*", 100, 32), PullStatus.NO_NEW_MSG, 100, "at the end");
        status(puller.pull(queue, "*", 111, 32), PullStatus.OFFSET_ILLEGAL, 100, "beyond the end");
        status(puller.pull(queue, "TagB", 0, 32), PullStatus.NO_MATCHED_MSG, 100, "a tag nobody sent");

        // A held pull is answered by the message, long before its 20 s are over.
        Thread late = new Thread(() -> {
            try {
                Thread.sleep(2000);
                producer.send(Context.message(c.topic, "TagB", "other tag"), queue);
                Thread.sleep(1000);
                producer.send(Context.message(c.topic, "TagA", "late"), queue);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        long start = System.nanoTime();
        late.start();
        PullResult held = puller.pullBlockIfNotFound(queue, "TagA", 100, 32);
        if (held.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
            held = puller.pullBlockIfNotFound(queue, "TagA", held.getNextBeginOffset(), 32);
        }
        long milliseconds = (System.nanoTime() - start) / 1_000_000;
        late.join();
        Context.check(held.getPullStatus() == PullStatus.FOUND && Context.text(held.getMsgFoundList().get(0)).equals("late"), "held pull: %s", held);
        Context.check(milliseconds >= 2900 && milliseconds < 8000, "held pull answered after %d ms", milliseconds);

        Context.check(puller.fetchConsumeOffset(queue, true) <= 0, "an offset nobody committed: %d", puller.fetchConsumeOffset(queue, true));
        puller.updateConsumeOffset(queue, 55);
        puller.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        puller.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(Collections.singleton(queue));
        Context.eventually(30, "the committed offset is 55", () -> puller.fetchConsumeOffset(queue, true) == 55);
        puller.shutdown();
        producer.shutdown();
    }

    private static void status(PullResult result, PullStatus status, long next, String what) {
        Context.check(result.getPullStatus() == status && result.getNextBeginOffset() == next, "%s: %s", what, result);
    }

    private static DefaultLitePullConsumer lite(Context c, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(c.group(group));
        consumer.setNamesrvAddr(c.namesrv);
        consumer.setMqClientApiTimeout(15_000);
        consumer.setInstanceName(c.topic + group + System.nanoTime());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        consumer.setPollTimeoutMillis(1000);
        return consumer;
    }

    /** Polls until nothing came for three seconds, or the wanted number is there. */
    private static List<MessageExt> poll(DefaultLitePullConsumer consumer, int wanted) {
        List<MessageExt> messages = new ArrayList<>();
        int empty = 0;
        while (messages.size() < wanted && empty < 15) {
            List<MessageExt> batch = consumer.poll();
            messages.addAll(batch);
            empty = batch.isEmpty() ? empty + 1 : 0;
        }
        return messages;
    }

    static void litePull(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        for (int i = 0; i < 50 * QUEUES; i++) {
            producer.send(Context.message(c.topic, i % 2 == 0 ? "Even" : "Odd", "m" + i));
        }

        // Assigned: one queue, seek to a number, the ends and a moment.
        DefaultLitePullConsumer assigned = lite(c, "assign");
        assigned.start();
        MessageQueue queue = new TreeSet<>(assigned.fetchMessageQueues(c.topic)).first();
        assigned.assign(List.of(queue));
        List<MessageExt> all = poll(assigned, 50);
        Context.check(all.size() == 50, "an assigned queue gave %d", all.size());
        assigned.seek(queue, 20);
        List<MessageExt> again = poll(assigned, 30);
        Context.check(again.size() == 30 && again.get(0).getQueueOffset() == 20, "after seek to 20: %d from %d", again.size(), again.get(0).getQueueOffset());
        assigned.seekToBegin(queue);
        Context.check(poll(assigned, 50).get(0).getQueueOffset() == 0, "after seek to begin");
        assigned.seekToEnd(queue);
        producer.send(Context.message(c.topic, "Even", "after the end"), queue);
        List<MessageExt> last = poll(assigned, 1);
        Context.check(last.size() == 1 && Context.text(last.get(0)).equals("after the end"), "after seek to end: %s", last);
        Long byTime = assigned.offsetForTimestamp(queue, all.get(10).getStoreTimestamp());
        Context.check(all.get(byTime.intValue()).getStoreTimestamp() == all.get(10).getStoreTimestamp(), "offset for a moment: %d", byTime);
        for (long bad : new long[] {-1, 1000}) {
            try {
                assigned.seek(queue, bad);
                throw new Context.Failed("seek to " + bad + " was accepted");
            } catch (MQClientException expected) {
                // the client asked for both ends and compared
            }
        }
        assigned.shutdown();

        // Subscribed with a tag: all queues; committed offsets carry over to the next consumer of the group.
        DefaultLitePullConsumer subscribed = lite(c, "subscribe");
        subscribed.subscribe(c.topic, "Even");
        subscribed.start();
        List<MessageExt> even = poll(subscribed, 25 * QUEUES + 1);
        Set<String> bodies = new HashSet<>();
        Map<MessageQueue, Long> next = new HashMap<>();
        for (MessageExt m : even) {
            Context.check(m.getTags().equals("Even"), "tag %s", m.getTags());
            bodies.add(Context.text(m));
            next.merge(new MessageQueue(c.topic, m.getBrokerName(), m.getQueueId()), m.getQueueOffset() + 1, Math::max);
        }
        Context.check(bodies.size() == 25 * QUEUES + 1, "subscribed got %d", bodies.size());
        commit(subscribed, next);
        Context.eventually(60, "the offsets are committed", () -> {
            for (Map.Entry<MessageQueue, Long> entry : next.entrySet()) {
                if (subscribed.committed(entry.getKey()) < entry.getValue()) {
                    return false;
                }
            }
            return true;
        });
        subscribed.shutdown();
        producer.send(Context.message(c.topic, "Odd", "unseen"), queue);
        producer.send(Context.message(c.topic, "Even", "resumed"), queue);
        DefaultLitePullConsumer resumed = lite(c, "subscribe");
        resumed.subscribe(c.topic, "Even");
        resumed.start();
        List<MessageExt> rest = poll(resumed, 1);
        Context.check(rest.size() == 1 && Context.text(rest.get(0)).equals("resumed"), "resumed with %d", rest.size());
        resumed.shutdown();
        producer.shutdown();
    }

    /** 4.x has only the commit of what was polled, 5.x the one of given offsets too. */
    private static void commit(DefaultLitePullConsumer consumer, Map<MessageQueue, Long> offsets) throws Exception {
        try {
            DefaultLitePullConsumer.class.getMethod("commit", Map.class, boolean.class).invoke(consumer, offsets, true);
        } catch (NoSuchMethodException old) {
            DefaultLitePullConsumer.class.getMethod("commitSync").invoke(consumer);
        }
    }
}
