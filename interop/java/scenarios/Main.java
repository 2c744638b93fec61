import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Main SCENARIO: runs one scenario with the RocketMQ client on the class path against the name servers of -Dnamesrv and
 * prints PASS or FAIL; exit status 0 or 1. The sources compile with client 4.9.8 and 5.5.0 alike.
 *
 * A scenario that needs something done to the servers prints "POINT what" and waits for a line on standard input.
 */
public class Main {
    interface Scenario {
        void run(Context context) throws Exception;
    }

    public static void main(String[] args) {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("sends", Sends::run);
        all.put("pull", Pulls::pull);
        all.put("lite-pull", Pulls::litePull);
        all.put("tags", Subscribers::tags);
        all.put("broadcast", Subscribers::broadcast);
        all.put("from-where", Subscribers::fromWhere);
        all.put("reconsume", Subscribers::reconsume);
        all.put("group", Groups::joinAndLeave);
        all.put("shrink", Groups::shrink);
        all.put("restart", Outages::restart);
        all.put("cluster", Outages::cluster);
        String name = args.length == 1 ? args[0] : "";
        Scenario scenario = all.get(name);
        if (scenario == null) {
            System.out.println("FAIL " + name + " is none of " + all.keySet());
            System.exit(2);
        }
        int status = 1;
        Context context = new Context();
        try {
            scenario.run(context);
            System.out.println("PASS " + name);
            status = 0;
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.out.println("FAIL " + name + " " + String.valueOf(failure.getMessage()).replace('\n', ' '));
        }
        // The clients keep threads, and a failed scenario leaves them running.
        System.exit(status);
    }
}
