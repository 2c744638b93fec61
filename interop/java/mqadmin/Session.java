import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Session NAMESRV BROKER SCRIPT MASKS OUT STORE: plays a script of mqadmin commands and writes what each printed, with the
 * values replaced that differ from run to run. The script and the masks describe themselves.
 */
public class Session {
    private static final Map<String, String> values = new LinkedHashMap<>();
    private static final List<Mask> masks = new ArrayList<>();
    private static String namesrv;

    private record Mask(Pattern command, Pattern text, String replacement) { }

    public static void main(String[] args) {
        PrintStream console = System.out;
        try {
            run(args);
            console.println("PASS mqadmin session");
            System.exit(0);
        } catch (Throwable failure) {
            failure.printStackTrace();
            console.println("FAIL mqadmin session: " + failure);
            System.exit(1);
        }
    }

    private static void run(String[] args) throws Exception {
        namesrv = args[0];
        values.put("{namesrv}", args[0]);
        values.put("{broker}", args[1]);
        values.put("{store}", args[5]);
        for (String line : Files.readAllLines(Path.of(args[3]))) {
            if (!line.isBlank() && !line.startsWith("#")) {
                String[] parts = line.split("\t");
                masks.add(new Mask(Pattern.compile(parts[0]), Pattern.compile(parts[1]), parts.length > 2 ? parts[2] : ""));
            }
        }
        command("topicRoute -n {namesrv} -t TBW102"); // the first command also prints how logging was set up
        StringBuilder out = new StringBuilder();
        for (String line : Files.readAllLines(Path.of(args[2]))) {
            if (line.isBlank() || line.startsWith("#")) {
                continue;
            }
            if (line.startsWith("!")) {
                directive(line.substring(1).split(" "));
                continue;
            }
            out.append("$ ").append(line).append('\n');
            for (String printed : command(line)) {
                out.append(printed).append('\n');
            }
        }
        Files.writeString(Path.of(args[4]), out);
    }

    private static String filled(String text) {
        for (Map.Entry<String, String> value : values.entrySet()) {
            text = text.replace(value.getKey(), value.getValue());
        }
        return text;
    }

    /** A line is: options of the script in brackets, then the command as a user types it. */
    private static List<String> command(String line) {
        int end = line.startsWith("[") ? line.indexOf("] ") : -1;
        String options = end < 0 ? "" : line.substring(1, end);
        String command = end < 0 ? line : line.substring(end + 2);
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        ByteArrayOutputStream complained = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
        try {
            MQAdminStartup.main0(filled(command).split(" "), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        List<String> lines = new ArrayList<>(printed.toString(StandardCharsets.UTF_8).lines().toList());
        // A failed command prints a stack trace; its causes are what the server said.
        complained.toString(StandardCharsets.UTF_8).lines().filter(text -> text.startsWith("Caused by:")).map(text -> "! " + text).forEach(lines::add);
        lines.replaceAll(text -> masked(command, text));
        if (options.contains("keys")) {
            // Only the names: what stands before the first colon or equals sign that ends a name.
            lines.replaceAll(text -> text.replaceFirst("\\s*(:|=).*", ""));
            lines = new ArrayList<>(new TreeSet<>(lines));
        }
        if (options.contains("sorted")) {
            lines.sort(null);
        }
        return lines;
    }

    private static String masked(String command, String text) {
        for (Map.Entry<String, String> value : values.entrySet()) {
            text = text.replace(value.getValue(), value.getKey());
        }
        String before = text;
        for (Mask mask : masks) {
            if (mask.command().matcher(command).find()) {
                text = mask.text().matcher(text).replaceAll(mask.replacement());
            }
        }
        // Columns move when a value has another length.
        return (text.equals(before) && !text.contains("{") ? text : text.replaceAll(" {2,}", "  ")).stripTrailing();
    }

    private static void directive(String[] words) throws Exception {
        switch (words[0]) {
            case "send" -> send(words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            case "consume" -> consume(words[1], words[2]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** So many messages to each queue, with tags, keys and a property; ids of the last one become {offsetId} and {uniqueId}. */
    private static void send(String topic, int queues, int each) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PID_admin");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("admin-producer");
        producer.setSendMsgTimeout(15_000);
        producer.start();
        for (int i = 0; i < queues * each; i++) {
            Message m = new Message(topic, "TagA", "key-" + i, ("body " + i).getBytes(StandardCharsets.UTF_8));
            m.putUserProperty("number", Integer.toString(i));
            SendResult r = producer.send(m, new MessageQueue(topic, "broker-a", i % queues));
            values.put("{offsetId}", r.getOffsetMsgId());
            values.put("{uniqueId}", r.getMsgId());
        }
        producer.shutdown();
    }

    /** A consumer that has consumed and committed everything, and stays. */
    private static void consume(String topic, String group) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("admin-consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPersistConsumerOffsetInterval(1000);
        consumer.subscribe(topic, "TagA || TagB");
        AtomicInteger consumed = new AtomicInteger();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            consumed.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long end = System.nanoTime() + 60_000_000_000L;
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            long max = consumer.getDefaultMQPushConsumerImpl().maxOffset(queue);
            while (consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE) != max) {
                if (System.nanoTime() > end) {
                    throw new IllegalStateException(topic + " is not consumed, " + consumed + " messages so far");
                }
                Thread.sleep(100);
            }
        }
    }
}
