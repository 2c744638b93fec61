import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push groups whose members or queues change while messages flow. */
class Groups {
    /** Counts how often each numbered message came, and notes repetitions while nothing was changing. */
    private static final class Tally {
        final AtomicIntegerArray times;
        final AtomicInteger distinct = new AtomicInteger();
        final AtomicInteger repeated = new AtomicInteger();
        final Set<String> unexpected = ConcurrentHashMap.newKeySet();
        volatile boolean changing;

        Tally(int messages) {
            times = new AtomicIntegerArray(messages);
        }

        void came(int number) {
            if (times.incrementAndGet(number) == 1) {
                distinct.incrementAndGet();
            } else {
                repeated.incrementAndGet();
                if (!changing) {
                    unexpected.add("message " + number + " again");
                }
            }
        }

        void reaches(int count) throws Exception {
            Context.eventually(120, count + " distinct messages consumed", () -> distinct.get() >= count);
        }
    }

    /** Sends numbered messages, many at a time; returns when all are acknowledged. */
    private static void send(DefaultMQProducer producer, String topic, int from, int to) throws Exception {
        Semaphore inFlight = new Semaphore(256);
        Set<String> refused = ConcurrentHashMap.newKeySet();
        for (int i = from; i < to; i++) {
            inFlight.acquire();
            producer.send(Context.message(topic, "TagA", Integer.toString(i)), new SendCallback() {
                @Override public void onSuccess(SendResult r) {
                    if (r.getSendStatus() != SendStatus.SEND_OK) {
                        refused.add(r.toString());
                    }
                    inFlight.release();
                }

                @Override public void onException(Throwable e) {
                    refused.add(e.toString());
                    inFlight.release();
                }
            });
        }
        inFlight.acquire(256);
        Context.check(refused.isEmpty(), "sends failed: %s", refused);
    }

    private static DefaultMQPushConsumer member(Context c, String group, Tally tally) throws Exception {
        DefaultMQPushConsumer consumer = c.pusher(group, c.topic, "*", m -> tally.came(Integer.parseInt(Context.text(m))));
        consumer.start();
        return consumer;
    }

    static void joinAndLeave(Context c) throws Exception {
        int quiet = Integer.getInteger("messages", 50_000) * 2 / 5;
        int churn = Integer.getInteger("messages", 50_000) / 2;
        int last = Integer.getInteger("messages", 50_000) / 10;
        int queues = 8;
        Tally tally = new Tally(quiet + churn + last);
        String group = c.group("members");
        DefaultMQProducer producer = c.producer();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            members.add(member(c, group, tally));
        }
        Context.settled(members, c.topic, queues);

        send(producer, c.topic, 0, quiet);
        tally.reaches(quiet);
        Context.check(tally.repeated.get() == 0, "%d repetitions in a quiet group: %s", tally.repeated.get(), tally.unexpected);

        tally.changing = true;
        Thread changes = new Thread(() -> {
            try {
                for (int round = 0; round < 3; round++) {
                    members.remove(0).shutdown();
                    Context.settled(members, c.topic, queues);
                    members.add(member(c, group, tally));
                    Context.settled(members, c.topic, queues);
                }
            } catch (Exception e) {
                tally.unexpected.add("a change of members failed: " + e);
            }
        });
        changes.start();
        int sent = quiet;
        int step = churn / 100;
        while (sent < quiet + churn) {
            send(producer, c.topic, sent, sent + step);
            sent += step;
            if (changes.isAlive()) {
                Thread.sleep(100);
            }
        }
        changes.join();
        Context.check(tally.unexpected.isEmpty(), "%s", tally.unexpected);
        tally.reaches(quiet + churn);
        int repeated = -1;
        while (repeated != tally.repeated.get()) {
            repeated = tally.repeated.get();
            Thread.sleep(3000);
        }
        tally.changing = false;

        send(producer, c.topic, sent, sent + last);
        tally.reaches(sent + last);
        Context.check(tally.unexpected.isEmpty(), "in a quiet group: %s", tally.unexpected);
        Context.info("%d messages, %d repetitions while members came and went", tally.distinct.get(), repeated);
        members.forEach(DefaultMQPushConsumer::shutdown);

        // Everything consumed is committed when the last member is gone.
        DefaultMQPullConsumer puller = c.puller(group);
        Context.eventually(30, "the offsets of the group reach the ends", () -> {
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(c.topic)) {
                if (puller.fetchConsumeOffset(queue, true) != puller.maxOffset(queue)) {
                    return false;
                }
            }
            return true;
        });
        puller.shutdown();
        producer.shutdown();
    }

    /** 16 queues become 8: first nobody writes to the upper ones, then, once they are drained, nobody reads them. */
    static void shrink(Context c) throws Exception {
        Tally tally = new Tally(1_000_000);
        tally.changing = true;
        String group = c.group("shrink");
        DefaultMQProducer producer = c.producer();
        DefaultMQPullConsumer puller = c.puller(c.group("watch"));
        List<DefaultMQPushConsumer> members = List.of(member(c, group, tally), member(c, group, tally));
        Context.settled(members, c.topic, 16);
        List<MessageQueue> all = new ArrayList<>(puller.fetchSubscribeMessageQueues(c.topic));
        all.removeIf(queue -> queue.getQueueId() < 8);
        AtomicInteger sent = new AtomicInteger();
        send(producer, c.topic, 0, 1600);
        sent.set(1600);

        c.point("write-8");
        Context.eventually(90, "the producer leaves the upper queues", () -> {
            long before = ends(puller, all);
            send(producer, c.topic, sent.get(), sent.get() + 160);
            sent.addAndGet(160);
            return ends(puller, all) == before;
        });
        tally.reaches(sent.get());

        c.point("read-8");
        Context.eventually(90, "the group holds 8 queues", () -> {
            send(producer, c.topic, sent.get(), sent.get() + 16);
            sent.addAndGet(16);
            Thread.sleep(200);
            return Context.held(members.get(0), c.topic).size() == 4 && Context.held(members.get(1), c.topic).size() == 4;
        });
        send(producer, c.topic, sent.get(), sent.get() + 800);
        tally.reaches(sent.addAndGet(800));
        Context.info("%d messages, %d repetitions", sent.get(), tally.repeated.get());
        members.forEach(DefaultMQPushConsumer::shutdown);
        puller.shutdown();
        producer.shutdown();
    }

    private static long ends(DefaultMQPullConsumer puller, List<MessageQueue> queues) throws Exception {
        long sum = 0;
        for (MessageQueue queue : queues) {
            sum += puller.maxOffset(queue);
        }
        return sum;
    }
}
