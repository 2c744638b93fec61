import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The client side of a round trip of a store between two brokers.
 *
 * RoundTrip load NAMESRV SEED COUNT LEDGER TOPIC...: sends so many messages of every kind from four threads, 0 means for
 * ever, and notes each acknowledged one in LEDGER. RoundTrip serve NAMESRV LEDGER KEYS TOPIC...: reads everything there is
 * and writes it to LEDGER, and looks a part of it up by id, time and, if KEYS is "required", by key. A line of a ledger is: topic, queue, offset,
 * offset id, unique id, CRC of the body, separated by tabs.
 */
public class RoundTrip {
    private static final int THREADS = 4;

    public static void main(String[] args) {
        try {
            if (args[0].equals("load")) {
                load(args[1], Long.parseLong(args[2]), Integer.parseInt(args[3]), Path.of(args[4]), List.of(args).subList(5, args.length));
            } else {
                serve(args[1], Path.of(args[2]), args[3].equals("required"), List.of(args).subList(4, args.length));
            }
            System.out.println("PASS " + args[0]);
            System.exit(0);
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.out.println("FAIL " + args[0] + " " + String.valueOf(failure).replace('\n', ' '));
            System.exit(1);
        }
    }

    private static String crc(byte[] body) {
        CRC32 crc = new CRC32();
        crc.update(body);
        return String.format("%08x", crc.getValue());
    }

    private static synchronized void note(Writer ledger, String topic, int queue, long offset, String offsetId, String uniqueId, String crc) throws IOException {
        ledger.write(topic + "\t" + queue + "\t" + offset + "\t" + offsetId + "\t" + uniqueId + "\t" + crc + "\n");
        ledger.flush();
    }

    private static void load(String namesrv, long seed, int count, Path ledgerPath, List<String> topics) throws Exception {
        Set<String> failures = ConcurrentHashMap.newKeySet();
        try (Writer ledger = Files.newBufferedWriter(ledgerPath, StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            List<Thread> threads = new ArrayList<>();
            for (int number = 0; number < THREADS; number++) {
                int thread = number;
                threads.add(new Thread(() -> {
                    try {
                        send(namesrv, new Random(seed * 1000 + thread), seed + "-" + thread, count / THREADS, ledger, topics);
                    } catch (Exception e) {
                        failures.add(e.toString());
                    }
                }));
            }
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
        }
        if (!failures.isEmpty()) {
            throw new IllegalStateException(failures.toString());
        }
    }

    private static Message message(Random random, String topic, String name) {
        int kind = random.nextInt(100);
        int size = kind < 80 ? 1 + random.nextInt(2000) : kind < 97 ? 1 + random.nextInt(20_000) : 100_000 + random.nextInt(100_000);
        byte[] body = new byte[size];
        if (kind % 2 == 0) {
            random.nextBytes(body);
        } else {
            // compressed by the client from 4 KiB on
            byte[] words = ("order " + name + " größe 数量 ").getBytes(StandardCharsets.UTF_8);
            for (int i = 0; i < size; i++) {
                body[i] = words[i % words.length];
            }
        }
        String[] tags = {null, "TagA", "TagB", "标签"};
        Message m = new Message(topic, tags[random.nextInt(tags.length)], "key-" + name + (random.nextInt(3) == 0 ? " second-" + name : ""), body);
        if (random.nextInt(3) == 0) {
            m.putUserProperty("farbe", "grün 🚀 " + name);
        }
        if (random.nextInt(8) == 0) {
            m.setFlag(random.nextInt());
        }
        return m;
    }

    private static void send(String namesrv, Random random, String name, int count, Writer ledger, List<String> topics) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PID_round_trip");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("load-" + name);
        producer.setSendMsgTimeout(20_000);
        producer.setMqClientApiTimeout(20_000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        for (int i = 0; count == 0 || i < count; i++) {
            String topic = topics.get(random.nextInt(topics.size()));
            // one queue gets more than the others, so that its files roll
            MessageQueue queue = new MessageQueue(topic, "broker-a", random.nextInt(3) == 0 ? 1 : random.nextInt(4));
            List<Message> messages = new ArrayList<>();
            if (random.nextInt(20) == 0) {
                for (int k = 2 + random.nextInt(8); k > 0; k--) {
                    Message m = new Message(topic, "TagC", "key-" + name + "-" + i + "-" + k, ("batch " + name + " " + i + " " + k).getBytes(StandardCharsets.UTF_8));
                    messages.add(m);
                }
            } else {
                messages.add(message(random, topic, name + "-" + i));
            }
            List<byte[]> bodies = new ArrayList<>();
            messages.forEach(m -> bodies.add(m.getBody()));
            SendResult r = messages.size() == 1 ? producer.send(messages.get(0), queue) : producer.send(messages, queue);
            if (r.getSendStatus() != SendStatus.SEND_OK) {
                throw new IllegalStateException(r.toString());
            }
            String[] offsetIds = r.getOffsetMsgId().split(",");
            String[] uniqueIds = r.getMsgId().split(",");
            for (int k = 0; k < messages.size(); k++) {
                note(ledger, topic, r.getMessageQueue().getQueueId(), r.getQueueOffset() + k, offsetIds[k], uniqueIds[k], crc(bodies.get(k)));
            }
        }
        producer.shutdown();
    }

    private static void check(boolean holds, String format, Object... values) {
        if (!holds) {
            throw new IllegalStateException(String.format(format, values));
        }
    }

    private static void serve(String namesrv, Path ledgerPath, boolean keys, List<String> topics) throws Exception {
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer("GID_round_trip_reader");
        puller.setNamesrvAddr(namesrv);
        puller.setMqClientApiTimeout(20_000);
        puller.start();
        DefaultMQProducer viewer = new DefaultMQProducer("PID_round_trip_viewer");
        viewer.setNamesrvAddr(namesrv);
        viewer.setMqClientApiTimeout(20_000);
        viewer.start();
        int total = 0;
        int looked = 0;
        try (Writer ledger = Files.newBufferedWriter(ledgerPath)) {
            for (String topic : topics) {
                for (MessageQueue queue : new TreeSet<>(puller.fetchSubscribeMessageQueues(topic))) {
                    List<MessageExt> messages = read(puller, queue);
                    long last = 0;
                    for (MessageExt m : messages) {
                        note(ledger, topic, queue.getQueueId(), m.getQueueOffset(), offsetId(m), m.getMsgId(), crc(m.getBody()));
                        check(m.getStoreTimestamp() >= last, "store times of %s go back at %d", queue, m.getQueueOffset());
                        last = m.getStoreTimestamp();
                    }
                    total += messages.size();
                    long first = puller.minOffset(queue);
                    check(puller.maxOffset(queue) == first + messages.size(), "%s goes from %d to %d, %d messages", queue, first, puller.maxOffset(queue), messages.size());
                    for (int i = 0; i < messages.size(); i += Math.max(1, messages.size() / 8)) {
                        lookUp(puller, viewer, queue, messages, i);
                        if (keys) {
                            byKey(viewer, queue, messages.get(i));
                        }
                        looked++;
                    }
                }
            }
        }
        System.out.println("INFO " + total + " messages served, " + looked + " looked up");
        puller.shutdown();
        viewer.shutdown();
    }

    private static String offsetId(MessageExt m) throws Exception {
        return org.apache.rocketmq.common.message.MessageDecoder.createMessageId(m.getStoreHost(), m.getCommitLogOffset());
    }

    private static List<MessageExt> read(DefaultMQPullConsumer puller, MessageQueue queue) throws Exception {
        long first = puller.minOffset(queue);
        List<MessageExt> messages = new ArrayList<>();
        for (;;) {
            PullResult result = puller.pull(queue, "*", first + messages.size(), 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                check(result.getPullStatus() == PullStatus.NO_NEW_MSG, "%s at %d: %s", queue, first + messages.size(), result);
                return messages;
            }
            for (MessageExt m : result.getMsgFoundList()) {
                check(m.getQueueOffset() == first + messages.size(), "%s: offset %d where %d was due", queue, m.getQueueOffset(), first + messages.size());
                messages.add(m);
            }
        }
    }

    private static void lookUp(DefaultMQPullConsumer puller, DefaultMQProducer viewer, MessageQueue queue, List<MessageExt> messages, int at) throws Exception {
        MessageExt m = messages.get(at);
        MessageExt byId = viewer.viewMessage(queue.getTopic(), offsetId(m));
        check(byId.getQueueOffset() == m.getQueueOffset() && byId.getQueueId() == queue.getQueueId(), "%s at %d by id: queue %d at %d", queue, at, byId.getQueueId(), byId.getQueueOffset());
        int found = (int) (puller.searchOffset(queue, m.getStoreTimestamp()) - messages.get(0).getQueueOffset());
        check(messages.get(found).getStoreTimestamp() == m.getStoreTimestamp()
            && (found == 0 || messages.get(found - 1).getStoreTimestamp() < m.getStoreTimestamp()), "%s at %d: offset by time %d", queue, at, found);
    }

    private static void byKey(DefaultMQProducer viewer, MessageQueue queue, MessageExt m) throws Exception {
        String key = m.getKeys().split(" ")[0];
        long end = System.nanoTime() + 20_000_000_000L;
        for (;;) {
            try {
                List<MessageExt> hits = viewer.queryMessage(queue.getTopic(), key, 32, m.getStoreTimestamp() - 60_000, m.getStoreTimestamp() + 60_000).getMessageList();
                if (hits.stream().anyMatch(hit -> hit.getQueueOffset() == m.getQueueOffset() && hit.getQueueId() == m.getQueueId())) {
                    return;
                }
            } catch (MQClientException none) {
                // Java's broker builds the index a moment later
            }
            check(System.nanoTime() < end, "%s at %d is not found by key %s", queue, m.getQueueOffset(), key);
            Thread.sleep(100);
        }
    }
}
