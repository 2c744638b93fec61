import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Servers that go away and come back while clients work; the clients are never told. */
class Outages {
    /** One thread that sends numbered messages for ever, each until it is acknowledged. */
    private static final class Sender extends Thread {
        final DefaultMQProducer producer;
        final String topic;
        final Map<String, String> acknowledged = new ConcurrentHashMap<>();
        final Map<String, AtomicInteger> perBroker = new ConcurrentHashMap<>();
        final AtomicInteger failures = new AtomicInteger();
        final AtomicReference<String> lastFailure = new AtomicReference<>("none");
        volatile boolean stop;

        Sender(Context c) throws Exception {
            producer = c.producer();
            producer.setSendMsgTimeout(5000);
            topic = c.topic;
        }

        @Override public void run() {
            for (int i = 0; !stop; i++) {
                String body = "m" + i;
                while (!stop && !send(body)) {
                    pause(50);
                }
                pause(2);
            }
        }

        private boolean send(String body) {
            try {
                SendResult r = producer.send(Context.message(topic, "TagA", body));
                if (r.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException(r.toString());
                }
                MessageQueue queue = r.getMessageQueue();
                acknowledged.put(body, queue.getBrokerName() + "/" + queue.getQueueId() + "@" + r.getQueueOffset());
                perBroker.computeIfAbsent(queue.getBrokerName(), name -> new AtomicInteger()).incrementAndGet();
                return true;
            } catch (Exception e) {
                failures.incrementAndGet();
                lastFailure.set(e.toString().replace('\n', ' '));
                return false;
            }
        }

        void more(int messages, int seconds) throws Exception {
            int goal = acknowledged.size() + messages;
            Context.eventually(seconds, messages + " more messages acknowledged; last failure: " + lastFailure, () -> acknowledged.size() >= goal);
        }

        int at(String broker) {
            AtomicInteger count = perBroker.get(broker);
            return count == null ? 0 : count.get();
        }

        void finish() throws Exception {
            stop = true;
            join();
            producer.shutdown();
        }
    }

    private static void pause(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private static List<DefaultMQPushConsumer> consumers(Context c, int members, Set<String> consumed) throws Exception {
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (int i = 0; i < members; i++) {
            DefaultMQPushConsumer consumer = c.pusher(c.group("outage"), c.topic, "*", m -> consumed.add(Context.text(m)));
            consumer.start();
            consumers.add(consumer);
        }
        return consumers;
    }

    /** Every acknowledged message is at the offset that the producer was told. */
    private static void stored(Context c, Map<String, String> acknowledged) throws Exception {
        DefaultMQPullConsumer puller = c.puller(c.group("audit"));
        Map<String, Set<String>> places = new HashMap<>();
        for (MessageQueue queue : new TreeSet<>(puller.fetchSubscribeMessageQueues(c.topic))) {
            for (MessageExt m : Context.all(puller, queue, 0)) {
                String place = queue.getBrokerName() + "/" + queue.getQueueId() + "@" + m.getQueueOffset();
                places.computeIfAbsent(Context.text(m), body -> new TreeSet<>()).add(place);
            }
        }
        acknowledged.forEach((body, place) -> {
            Set<String> found = places.getOrDefault(body, Set.of());
            Context.check(found.contains(place), "%s was acknowledged at %s and is at %s", body, place, found);
        });
        puller.shutdown();
    }

    static void restart(Context c) throws Exception {
        Set<String> consumed = ConcurrentHashMap.newKeySet();
        List<DefaultMQPushConsumer> consumers = consumers(c, 2, consumed);
        Sender sender = new Sender(c);
        sender.start();
        sender.more(500, 60);
        for (String outage : List.of("stop-and-start", "kill-and-start", "kill-and-start")) {
            c.point(outage);
            sender.more(300, 90);
            Set<String> now = Set.copyOf(sender.acknowledged.keySet());
            Context.eventually(90, "everything acknowledged before is consumed after " + outage, () -> consumed.containsAll(now));
        }
        sender.finish();
        Context.eventually(90, "everything acknowledged is consumed", () -> consumed.containsAll(sender.acknowledged.keySet()));
        stored(c, sender.acknowledged);
        Context.info("%d messages acknowledged, %d sends failed meanwhile", sender.acknowledged.size(), sender.failures.get());
        consumers.forEach(DefaultMQPushConsumer::shutdown);
    }

    /** Three name servers, two brokers, the topic on both. */
    static void cluster(Context c) throws Exception {
        Set<String> consumed = ConcurrentHashMap.newKeySet();
        List<DefaultMQPushConsumer> consumers = consumers(c, 2, consumed);
        Sender sender = new Sender(c);
        sender.start();
        sender.more(500, 60);
        Context.check(sender.perBroker.keySet().equals(Set.of("broker-a", "broker-b")), "sent to %s", sender.perBroker);

        c.point("kill-namesrv");
        sender.more(500, 60);
        Context.check(sender.failures.get() == 0, "without a name server %d sends failed: %s", sender.failures.get(), sender.lastFailure);
        // A client that starts now finds its way too, though its first try may be at the dead name server and fail.
        DefaultMQProducer late = c.producer();
        Context.eventually(20, "a late producer finds the topic", () -> {
            try {
                return late.send(Context.message(c.topic, "TagA", "late0")).getSendStatus() == SendStatus.SEND_OK;
            } catch (IllegalStateException noNameServer) {
                return false;
            }
        });
        for (int i = 1; i < 20; i++) {
            Context.check(late.send(Context.message(c.topic, "TagA", "late" + i)).getSendStatus() == SendStatus.SEND_OK, "a late producer");
        }
        Context.eventually(60, "the messages of the late producer", () -> consumed.contains("late0") && consumed.contains("late19"));

        c.point("kill-broker-b");
        int failedBefore = sender.failures.get();
        sender.more(300, 60);
        int atB = sender.at("broker-b");
        sender.more(300, 60);
        Context.check(sender.at("broker-b") == atB, "acknowledged by a dead broker");
        Context.info("%d sends failed after the broker was killed", sender.failures.get() - failedBefore);

        c.point("start-all");
        Context.eventually(120, "sends reach the broker again", () -> sender.at("broker-b") > atB + 50);
        sender.finish();
        late.shutdown();
        Context.eventually(120, "everything acknowledged is consumed", () -> consumed.containsAll(sender.acknowledged.keySet()));
        stored(c, sender.acknowledged);
        Context.info("%d messages acknowledged: %s", sender.acknowledged.size(), sender.perBroker);
        consumers.forEach(DefaultMQPushConsumer::shutdown);
    }
}
