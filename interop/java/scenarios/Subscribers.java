import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What one push consumer, or one group, is given. */
class Subscribers {
    private static final List<ConsumeFromWhere> WHERE = List.of(
        ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);

    static void tags(Context c) throws Exception {
        // "Aa" and "BB" have the same hash, so only the client tells them apart.
        String[] tags = {"TagA", "TagB", "TagC", "Aa", "BB", null};
        DefaultMQProducer producer = c.producer();
        for (int i = 0; i < 120; i++) {
            producer.send(Context.message(c.topic, tags[i % tags.length], "m" + i));
        }
        Map<String, Set<String>> wanted = Map.of(
            "TagA", Set.of("TagA"), "TagA || TagB", Set.of("TagA", "TagB"), "Aa", Set.of("Aa"), "BB||TagC", Set.of("BB", "TagC"));
        Map<String, Set<String>> got = new ConcurrentHashMap<>();
        Set<String> wrong = ConcurrentHashMap.newKeySet();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        int number = 0;
        for (Map.Entry<String, Set<String>> subscription : wanted.entrySet()) {
            String expression = subscription.getKey();
            got.put(expression, ConcurrentHashMap.newKeySet());
            DefaultMQPushConsumer consumer = c.pusher(c.group("tags" + number++), c.topic, expression, m -> {
                if (!subscription.getValue().contains(m.getTags())) {
                    wrong.add(expression + " got " + m.getTags());
                }
                got.get(expression).add(Context.text(m));
            });
            consumer.start();
            consumers.add(consumer);
        }
        for (Map.Entry<String, Set<String>> subscription : wanted.entrySet()) {
            int count = subscription.getValue().size() * 20;
            Context.eventually(60, count + " messages for " + subscription.getKey(), () -> got.get(subscription.getKey()).size() == count);
        }
        // A message sent while the consumers wait reaches those that asked for it, and quickly.
        long start = System.nanoTime();
        producer.send(Context.message(c.topic, "TagA", "live"));
        Context.eventually(10, "a live message", () -> got.get("TagA").contains("live") && got.get("TagA || TagB").contains("live"));
        long milliseconds = (System.nanoTime() - start) / 1_000_000;
        Context.info("a live message after %d ms", milliseconds);
        Context.check(milliseconds < 3000, "a live message took %d ms", milliseconds);
        Context.check(wrong.isEmpty(), "%s", wrong);
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        producer.shutdown();
    }

    static void broadcast(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        List<Map<String, Integer>> got = List.of(new ConcurrentHashMap<>(), new ConcurrentHashMap<>());
        DefaultMQPushConsumer[] members = new DefaultMQPushConsumer[2];
        for (int member = 0; member < 2; member++) {
            members[member] = broadcaster(c, member, got.get(member));
        }
        for (int i = 0; i < 200; i++) {
            producer.send(Context.message(c.topic, "TagA", "m" + i));
        }
        for (int member = 0; member < 2; member++) {
            Map<String, Integer> own = got.get(member);
            Context.eventually(60, "200 messages for each member", () -> own.size() == 200);
        }
        // A member keeps its offsets in a file of its own: after a restart it goes on where it was.
        members[1].shutdown();
        for (int i = 200; i < 250; i++) {
            producer.send(Context.message(c.topic, "TagA", "m" + i));
        }
        members[1] = broadcaster(c, 1, got.get(1));
        for (int member = 0; member < 2; member++) {
            Map<String, Integer> own = got.get(member);
            Context.eventually(60, "250 messages for each member", () -> own.size() == 250);
            Context.check(own.values().stream().allMatch(times -> times == 1), "member %d got some twice", member);
            members[member].shutdown();
        }
        producer.shutdown();
    }

    private static DefaultMQPushConsumer broadcaster(Context c, int member, Map<String, Integer> got) throws Exception {
        DefaultMQPushConsumer consumer = c.pusher(c.group("broadcast"), c.topic, "*", c.topic + "-broadcaster-" + member, (messages, context) -> {
            messages.forEach(m -> got.merge(Context.text(m), 1, Integer::sum));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        Context.broadcasting(consumer);
        consumer.start();
        return consumer;
    }

    /**
     * Where a group starts that has no offset. On a young topic (first message still there) the broker says 0, whatever
     * the consumer asks for; once old files are deleted, the consumer decides. The broker of this scenario deletes
     * files as soon as they are full.
     */
    static void fromWhere(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        String young = c.topic("young");
        String old = c.topic("old");
        for (int i = 0; i < 40; i++) {
            producer.send(Context.message(young, "TagA", "m" + i));
        }
        DefaultMQPullConsumer puller = c.puller(c.group("puller"));
        int sent = 40;
        for (ConsumeFromWhere where : WHERE) {
            int all = sent++;
            Set<String> got = ConcurrentHashMap.newKeySet();
            DefaultMQPushConsumer consumer = c.pusher(c.group("young" + where.ordinal()), young, "*", m -> got.add(Context.text(m)));
            consumer.setConsumeFromWhere(where);
            consumer.setConsumeTimestamp(stamp(System.currentTimeMillis() + 3_600_000));
            consumer.start();
            Context.eventually(60, "all messages of a young topic, asked for " + where, () -> got.size() == all);
            Context.committed(consumer, puller, young);
            consumer.shutdown();
            // With an offset of its own the group goes on there, even if it now asks for the beginning.
            producer.send(Context.message(young, "TagA", "next" + where));
            Set<String> more = ConcurrentHashMap.newKeySet();
            consumer = c.pusher(c.group("young" + where.ordinal()), young, "*", m -> more.add(Context.text(m)));
            consumer.start();
            Context.eventually(60, "the next message after " + where, () -> more.contains("next" + where));
            Context.committed(consumer, puller, young);
            Context.check(more.size() == 1, "consumed again: %s", more);
            consumer.shutdown();
        }

        // Only now there are full files, and the young topic may lose its messages.
        MessageQueue queue = producer.fetchPublishMessageQueues(old).get(0);
        fill(producer, queue, 0, 3);
        long firstEnd = puller.maxOffset(queue);
        Context.eventually(150, "the first files are deleted", () -> puller.minOffset(queue) > 0);
        long middle = System.currentTimeMillis();
        Thread.sleep(1100);
        producer.send(Context.message(old, "TagA", "after the moment"), queue);
        long min = puller.minOffset(queue);
        Context.info("offsets %d to %d", min, puller.maxOffset(queue));

        Map<ConsumeFromWhere, List<Long>> got = new ConcurrentHashMap<>();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (ConsumeFromWhere where : WHERE) {
            List<Long> offsets = java.util.Collections.synchronizedList(new ArrayList<>());
            got.put(where, offsets);
            DefaultMQPushConsumer consumer = c.pusher(c.group("old" + where.ordinal()), old, "*", m -> offsets.add(m.getQueueOffset()));
            consumer.setConsumeFromWhere(where);
            consumer.setConsumeTimestamp(stamp(middle));
            consumer.start();
            consumers.add(consumer);
            Context.eventually(60, "the consumer holds the queue", () -> Context.held(consumer, old).contains(queue));
        }
        Thread.sleep(2000);
        long end = puller.maxOffset(queue);
        producer.send(Context.message(old, "TagA", "last"), queue);
        for (List<Long> offsets : got.values()) {
            Context.eventually(60, "the last message for everybody", () -> offsets.contains(end));
        }
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        long fromFirst = java.util.Collections.min(got.get(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET));
        Context.check(fromFirst >= min && fromFirst < firstEnd, "FIRST started at %d, min is %d", fromFirst, min);
        Context.check(got.get(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET).equals(List.of(end)), "LAST got %s", got.get(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET));
        Context.check(new TreeSet<>(got.get(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP)).equals(new TreeSet<>(List.of(end - 1, end))),
            "TIMESTAMP got %s", got.get(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP));
        puller.shutdown();
        producer.shutdown();
    }

    private static String stamp(long time) {
        return new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(time));
    }

    /** So many MiB that cannot be compressed, in messages of 64 KiB. */
    private static void fill(DefaultMQProducer producer, MessageQueue queue, int seed, int megabytes) throws Exception {
        java.util.Random random = new java.util.Random(seed);
        for (int i = 0; i < 16 * megabytes; i++) {
            byte[] body = new byte[64 << 10];
            random.nextBytes(body);
            producer.send(new org.apache.rocketmq.common.message.Message(queue.getTopic(), body), queue);
        }
    }

    /**
     * A consumer that cannot handle a message yet. Java's broker takes it back and gives it again later; a broker that
     * refuses this leaves it with the client, which tries again itself. Either way it is not lost, not even when the
     * client goes away.
     */
    static void reconsume(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        Map<String, AtomicInteger> tries = new ConcurrentHashMap<>();
        Set<String> done = ConcurrentHashMap.newKeySet();
        Set<String> wrong = ConcurrentHashMap.newKeySet();
        String group = c.group("reconsume");
        DefaultMQPushConsumer first = c.pusher(group, c.topic, "*", c.topic + "-first", (messages, context) -> {
            MessageExt m = messages.get(0);
            String text = Context.text(m);
            int attempt = tries.computeIfAbsent(text, t -> new AtomicInteger()).incrementAndGet();
            if (text.equals("never here") || text.startsWith("later") && attempt == 1) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            if (text.startsWith("later") && m.getReconsumeTimes() != 1 || !m.getTopic().equals(c.topic)) {
                wrong.add(text + " came with " + m.getReconsumeTimes() + " of " + m.getTopic());
            }
            done.add(text);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        first.start();
        for (int i = 0; i < 60; i++) {
            producer.send(Context.message(c.topic, "TagA", (i % 6 == 0 ? "later" : "now") + i));
        }
        producer.send(Context.message(c.topic, "TagA", "never here"));
        Context.eventually(60, "50 messages at once", () -> done.size() >= 50);
        Context.eventually(90, "10 messages at the second try", () -> done.size() == 60);
        Context.check(wrong.isEmpty(), "%s", wrong);
        first.shutdown();
        Set<String> second = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer heir = c.pusher(group, c.topic, "*", m -> second.add(Context.text(m)));
        heir.start();
        Context.eventually(120, "the message the first member never handled", () -> second.contains("never here"));
        heir.shutdown();
        producer.shutdown();
    }
}
