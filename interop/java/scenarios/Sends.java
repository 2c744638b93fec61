import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send to a topic of 8 queues, then everything read back, by offset, by id, by key and by time. */
class Sends {
    /** What is known of a message that was acknowledged; queue and offset are unknown for one-way sends. */
    private record Sent(Message message, byte[] body, String queueAndOffset, String offsetId, String uniqueId) { }

    private static final int QUEUES = 8;

    static void run(Context c) throws Exception {
        String topic = c.topic;
        DefaultMQProducer producer = c.producer();
        Map<String, Sent> sent = new ConcurrentHashMap<>();
        long before = System.currentTimeMillis();

        Map<Integer, Integer> perQueue = new HashMap<>();
        for (int i = 0; i < 10 * QUEUES; i++) {
            Message m = message(topic, "sync-" + i);
            SendResult r = producer.send(m);
            record(sent, m, r);
            perQueue.merge(r.getMessageQueue().getQueueId(), 1, Integer::sum);
        }
        Context.check(perQueue.size() == QUEUES, "sent to queues %s", perQueue);
        Context.check(new HashSet<>(perQueue.values()).equals(Set.of(10)), "not evenly: %s", perQueue);

        CountDownLatch answered = new CountDownLatch(200);
        Set<String> refused = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 200; i++) {
            Message m = message(topic, "async-" + i);
            producer.send(m, new SendCallback() {
                @Override public void onSuccess(SendResult r) {
                    record(sent, m, r);
                    answered.countDown();
                }

                @Override public void onException(Throwable e) {
                    refused.add(e.toString());
                    answered.countDown();
                }
            });
        }
        Context.check(answered.await(60, TimeUnit.SECONDS), "%d async sends not answered", answered.getCount());
        Context.check(refused.isEmpty(), "async sends failed: %s", refused);

        for (int i = 0; i < 50; i++) {
            Message m = message(topic, "oneway-" + i);
            producer.sendOneway(m);
            sent.put("oneway-" + i, new Sent(m, m.getBody(), null, null, null));
        }

        MessageQueue third = new MessageQueue(topic, producer.fetchPublishMessageQueues(topic).get(0).getBrokerName(), 3);
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            batch.add(message(topic, "batch-" + i));
        }
        SendResult together = producer.send(batch, third);
        Context.check(together.getSendStatus() == SendStatus.SEND_OK, "batch: %s", together);
        String[] offsetIds = together.getOffsetMsgId().split(",");
        String[] uniqueIds = together.getMsgId().split(",");
        Context.check(offsetIds.length == 20 && uniqueIds.length == 20, "ids of a batch: %s", together);
        for (int i = 0; i < 20; i++) {
            sent.put("batch-" + i, new Sent(batch.get(i), batch.get(i).getBody(), "3@" + (together.getQueueOffset() + i), offsetIds[i], uniqueIds[i]));
        }

        Message selected = message(topic, "selected");
        SendResult r = producer.send(selected, (queues, m, argument) -> queues.get((Integer) argument), 5);
        Context.check(r.getMessageQueue().getQueueId() == 5, "selected queue 5: %s", r);
        record(sent, selected, r);

        Message compressed = message(topic, "compressed");
        byte[] text = "compressed ".repeat(20_000).getBytes(StandardCharsets.UTF_8);
        compressed.setBody(text);
        record(sent, compressed, producer.send(compressed), text);
        Message large = message(topic, "large");
        byte[] noise = new byte[3 << 20];
        new Random(7).nextBytes(noise);
        large.setBody(noise.clone());
        record(sent, large, producer.send(large), noise);
        Message flagged = message(topic, "flagged");
        flagged.setFlag(-77);
        flagged.putUserProperty("farbe", "grün 🚀");
        record(sent, flagged, producer.send(flagged));
        Message bare = new Message(topic, new byte[] {0});
        record(sent, bare, producer.send(bare), bare.getBody(), "bare");

        tooLarge(c);
        readBack(c, producer, sent, before);
        producer.shutdown();
    }

    private static Message message(String topic, String name) {
        Message m = Context.message(topic, "Tag" + name.length() % 3, name);
        m.putUserProperty("name", name);
        return m;
    }

    private static void record(Map<String, Sent> sent, Message m, SendResult r) {
        record(sent, m, r, m.getBody());
    }

    private static void record(Map<String, Sent> sent, Message m, SendResult r, byte[] body) {
        record(sent, m, r, body, m.getUserProperty("name"));
    }

    private static void record(Map<String, Sent> sent, Message m, SendResult r, byte[] body, String name) {
        Context.check(r.getSendStatus() == SendStatus.SEND_OK, "%s: %s", name, r);
        sent.put(name, new Sent(m, body.clone(), r.getMessageQueue().getQueueId() + "@" + r.getQueueOffset(), r.getOffsetMsgId(), r.getMsgId()));
    }

    /** The limit of the broker, which an ordinary client does not reach because it checks first. */
    private static void tooLarge(Context c) throws Exception {
        DefaultMQProducer producer = c.producer();
        producer.setMaxMessageSize(8 << 20);
        producer.setCompressMsgBodyOverHowmuch(8 << 20);
        try {
            producer.send(new Message(c.topic, new byte[(4 << 20) + 1]));
            throw new Context.Failed("a body over 4 MiB was accepted");
        } catch (MQBrokerException refused) {
            Context.check(refused.getResponseCode() == 13, "body over 4 MiB: %d %s", refused.getResponseCode(), refused.getErrorMessage());
        }
        producer.shutdown();
    }

    private static void readBack(Context c, DefaultMQProducer producer, Map<String, Sent> sent, long before) throws Exception {
        DefaultMQPullConsumer puller = c.puller(c.group("reader"));
        Set<MessageQueue> queues = new TreeSet<>(puller.fetchSubscribeMessageQueues(c.topic));
        Context.check(queues.size() == QUEUES, "queues to read: %s", queues);
        Context.eventually(30, "the queues hold " + sent.size() + " messages", () -> {
            long sum = 0;
            for (MessageQueue queue : queues) {
                sum += puller.maxOffset(queue);
            }
            return sum == sent.size();
        });
        Set<String> seen = new HashSet<>();
        MessageExt middle = null;
        for (MessageQueue queue : queues) {
            Context.check(puller.minOffset(queue) == 0, "min offset of %s: %d", queue, puller.minOffset(queue));
            List<MessageExt> messages = Context.all(puller, queue, 0);
            for (MessageExt m : messages) {
                String name = m.getUserProperty("name") == null ? "bare" : m.getUserProperty("name");
                Sent s = sent.get(name);
                Context.check(s != null && seen.add(name), "%s is not expected in %s", name, queue);
                same(queue, m, name, s, before);
            }
            long earliest = puller.earliestMsgStoreTime(queue);
            Context.check(messages.isEmpty() || earliest == messages.get(0).getStoreTimestamp(), "earliest of %s: %d", queue, earliest);
            Context.check(puller.searchOffset(queue, before - 60_000) == 0, "first offset by time of %s", queue);
            MessageExt probe = messages.get(messages.size() / 2);
            long found = puller.searchOffset(queue, probe.getStoreTimestamp());
            Context.check(messages.get((int) found).getStoreTimestamp() == probe.getStoreTimestamp()
                && (found == 0 || messages.get((int) found - 1).getStoreTimestamp() < probe.getStoreTimestamp()),
                "offset by time in %s: %d", queue, found);
            middle = probe;
        }
        Context.check(seen.equals(sent.keySet()), "%d of %d read back", seen.size(), sent.size());

        MessageExt byId = producer.viewMessage(c.topic, sent.get("batch-7").offsetId());
        Context.check(byId.getUserProperty("name").equals("batch-7"), "by offset id: %s", byId);
        String key = "key-async-42";
        Context.eventually(30, "query by key " + key, () -> {
            try {
                List<MessageExt> found = producer.queryMessage(c.topic, key, 32, before - 1000, System.currentTimeMillis() + 1000).getMessageList();
                return found.size() == 1 && found.get(0).getUserProperty("name").equals("async-42");
            } catch (org.apache.rocketmq.client.exception.MQClientException none) {
                return false;
            }
        });
        MessageExt byUniqueId = producer.viewMessage(c.topic, sent.get("sync-3").uniqueId());
        Context.check(byUniqueId.getUserProperty("name").equals("sync-3"), "by unique id: %s", byUniqueId);
        Context.check(middle != null, "nothing read");
        puller.shutdown();
    }

    private static void same(MessageQueue queue, MessageExt m, String name, Sent s, long before) {
        Context.check(Arrays.equals(m.getBody(), s.body()), "body of %s: %d bytes", name, m.getBody().length);
        Context.check(s.queueAndOffset() == null || s.queueAndOffset().equals(queue.getQueueId() + "@" + m.getQueueOffset()),
            "%s was acknowledged at %s and is at %d@%d", name, s.queueAndOffset(), queue.getQueueId(), m.getQueueOffset());
        Context.check(s.uniqueId() == null || s.uniqueId().equals(m.getMsgId()), "unique id of %s", name);
        Context.check(m.getFlag() == s.message().getFlag(), "flag of %s", name);
        Context.check(m.getTopic().equals(queue.getTopic()) && m.getQueueId() == queue.getQueueId(), "place of %s", name);
        Context.check(String.valueOf(m.getTags()).equals(String.valueOf(s.message().getTags())), "tag of %s: %s", name, m.getTags());
        Context.check(String.valueOf(m.getKeys()).equals(String.valueOf(s.message().getKeys())), "keys of %s: %s", name, m.getKeys());
        s.message().getProperties().forEach((key, value) ->
            Context.check(value.equals(m.getProperty(key)), "property %s of %s: %s", key, name, m.getProperty(key)));
        Context.check(m.getStoreTimestamp() >= before - 1000 && m.getBornTimestamp() >= before - 1000, "times of %s", name);
        Context.check(m.getReconsumeTimes() == 0 && m.getBornHostString() != null, "reconsume times of %s", name);
    }
}
