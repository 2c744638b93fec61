//! Consumers that share a group: who gets which queues, what is committed, what happens to failed messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferromq_client::{
    Client, ConsumeFrom, ConsumeResult, PushConsumer, PushOptions, ReceivedMessage, StartError, Subscription,
};
use ferromq_protocol::body::HeartbeatData;
use ferromq_protocol::code::{request, response};
use ferromq_protocol::json;
use tokio::sync::mpsc;

use crate::fake::{Fake, Fault};

fn from_first() -> PushOptions {
    PushOptions { from: ConsumeFrom::First, ..PushOptions::default() }
}

/// A consumer that accepts everything and tells what it got.
async fn start(client: &Client, options: PushOptions) -> (PushConsumer, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = move |messages: Vec<ReceivedMessage>| {
        for message in &messages {
            sender.send(String::from_utf8(message.body.to_vec()).unwrap()).unwrap();
        }
        std::future::ready(ConsumeResult::Success)
    };
    let subscriptions = vec![Subscription::new("T", "*")];
    (client.push_consumer("GID", subscriptions, options, listener).await.unwrap(), receiver)
}

async fn receive(receiver: &mut mpsc::UnboundedReceiver<String>, count: usize) -> BTreeSet<String> {
    let mut got = BTreeSet::new();
    while got.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), receiver.recv()).await;
        got.insert(next.expect("a message in time").unwrap());
    }
    got
}

#[tokio::test]
async fn all_queues_are_read_and_offsets_are_committed_at_the_end() {
    let (a, b) = (Fake::start("a").await, Fake::start("b").await);
    a.route("T", &[(&a, 2), (&b, 2)]);
    for queue in 0..2 {
        a.store("T", queue, format!("a{queue}").as_bytes(), b"");
        b.store("T", queue, format!("b{queue}").as_bytes(), b"");
    }
    let client = a.client().await;
    let (consumer, mut got) = start(&client, from_first()).await;
    let expected: BTreeSet<String> = ["a0", "a1", "b0", "b1"].map(str::to_owned).into();
    assert_eq!(receive(&mut got, 4).await, expected);
    a.store("T", 0, b"later", b"");
    receive(&mut got, 1).await;
    consumer.stop().await;

    // Commits are oneway; the order of a connection makes the end of the consumer come after them.
    assert_eq!(a.committed("GID", "T", 0), Some(2));
    assert_eq!(a.committed("GID", "T", 1), Some(1));
    assert_eq!(b.committed("GID", "T", 1), Some(1));
    assert_eq!(a.requests(request::UNREGISTER_CLIENT)[0].field("consumerGroup"), Some("GID"));
}

#[tokio::test]
async fn a_group_goes_on_where_it_was() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"old", b"");
    let client = fake.client().await;
    let (consumer, mut got) = start(&client, from_first()).await;
    receive(&mut got, 1).await;
    consumer.stop().await;
    fake.store("T", 0, b"new", b"");
    let (_consumer, mut got) = start(&client, from_first()).await;
    assert_eq!(receive(&mut got, 1).await, BTreeSet::from(["new".to_owned()]));
}

#[tokio::test]
async fn a_new_group_starts_behind_the_last_message_if_so_told() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"old", b"");
    let client = fake.client().await;
    let (_consumer, mut got) = start(&client, PushOptions::default()).await;
    fake.wait_for(request::PULL_MESSAGE, 1).await;
    fake.store("T", 0, b"new", b"");
    assert_eq!(receive(&mut got, 1).await, BTreeSet::from(["new".to_owned()]));
}

async fn has_queues(consumer: &PushConsumer, count: usize) {
    consumer.assigned().wait_for(|queues| queues.len() == count).await.unwrap();
}

#[tokio::test]
async fn a_start_behind_the_last_message_is_committed_at_once() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"old", b"");
    let client = fake.client().await;
    let (_consumer, _got) = start(&client, PushOptions::default()).await;
    fake.wait_for(request::PULL_MESSAGE, 1).await;
    // Otherwise the next owner of the queue would start behind what came in between.
    assert_eq!(fake.committed("GID", "T", 0), Some(1));
}

#[tokio::test]
async fn members_share_the_queues_and_the_rest_takes_over() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 4)]);
    let first = fake.client_with(|config| config.instance_name = Some("m1".to_owned())).await;
    let second = fake.client_with(|config| config.instance_name = Some("m2".to_owned())).await;
    let (first_consumer, mut first_got) = start(&first, from_first()).await;
    has_queues(&first_consumer, 4).await;
    let (second_consumer, mut second_got) = start(&second, from_first()).await;
    has_queues(&first_consumer, 2).await;
    has_queues(&second_consumer, 2).await;
    for queue in 0..4 {
        fake.store("T", queue, format!("q{queue}").as_bytes(), b"");
    }
    let both: BTreeSet<String> =
        receive(&mut first_got, 2).await.union(&receive(&mut second_got, 2).await).cloned().collect();
    assert_eq!(both.len(), 4);

    second_consumer.stop().await;
    has_queues(&first_consumer, 4).await;
    for queue in 0..4 {
        fake.store("T", queue, format!("r{queue}").as_bytes(), b"");
    }
    let expected: BTreeSet<String> = (0..4).map(|queue| format!("r{queue}")).collect();
    assert_eq!(receive(&mut first_got, 4).await, expected);
}

#[tokio::test]
async fn the_broker_hears_the_subscription_before_the_first_pull() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let listener = |_| std::future::ready(ConsumeResult::Success);
    let subscriptions = vec![Subscription::new("T", "TagA||TagB")];
    let _consumer = client.push_consumer("GID", subscriptions, from_first(), listener).await.unwrap();
    let heartbeat = fake.requests(request::HEART_BEAT).remove(0);
    let heartbeat: HeartbeatData = json::from_slice(&heartbeat.body).unwrap();
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.group_name, "GID");
    let [topic, retry] = &consumer.subscription_data_set[..] else { panic!("{consumer:?}") };
    assert_eq!((topic.topic.as_str(), topic.sub_string.as_str()), ("T", "TagA||TagB"));
    assert_eq!(topic.code_set, [2_598_919, 2_598_920]);
    assert_eq!((retry.topic.as_str(), retry.sub_string.as_str()), ("%RETRY%GID", "*"));
    assert!(topic.sub_version > 0);
}

/// A listener that fails the given message until told otherwise.
fn failing(
    failures: Arc<tokio::sync::Semaphore>,
) -> impl Fn(Vec<ReceivedMessage>) -> std::future::Ready<ConsumeResult> {
    move |_| match failures.try_acquire() {
        Ok(permit) => {
            permit.forget();
            std::future::ready(ConsumeResult::Later)
        }
        Err(_) => std::future::ready(ConsumeResult::Success),
    }
}

#[tokio::test]
async fn a_failed_message_goes_back_to_the_broker() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"x", b"UNIQ_KEY\x01AB\x02");
    fake.fault(request::CONSUMER_SEND_MSG_BACK, Fault::Answer(response::SUCCESS, ""));
    let client = fake.client().await;
    let listener = failing(Arc::new(tokio::sync::Semaphore::new(1)));
    let subscriptions = vec![Subscription::new("T", "*")];
    let consumer = client.push_consumer("GID", subscriptions, from_first(), listener).await.unwrap();
    let back = fake.wait_for(request::CONSUMER_SEND_MSG_BACK, 1).await.remove(0);
    for (name, value) in [("offset", "0"), ("group", "GID"), ("delayLevel", "0"), ("originTopic", "T")] {
        assert_eq!(back.field(name), Some(value), "{name}");
    }
    assert_eq!(back.field("originMsgId"), Some("AB"));
    // The next pull shows that the message is settled.
    fake.wait_for(request::PULL_MESSAGE, 2).await;
    consumer.stop().await;
    assert_eq!(fake.committed("GID", "T", 0), Some(1));
}

#[tokio::test]
async fn a_failed_message_that_the_broker_does_not_take_stays_here_and_comes_again() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"x", b"");
    fake.fault(request::CONSUMER_SEND_MSG_BACK, Fault::Answer(response::REQUEST_CODE_NOT_SUPPORTED, "no"));
    let client = fake.client().await;
    let (sender, mut calls) = mpsc::unbounded_channel();
    let listener = move |messages: Vec<ReceivedMessage>| {
        let times = messages[0].reconsume_times;
        sender.send(times).unwrap();
        std::future::ready(if times == 0 { ConsumeResult::Later } else { ConsumeResult::Success })
    };
    let subscriptions = vec![Subscription::new("T", "*")];
    let consumer = client.push_consumer("GID", subscriptions, from_first(), listener).await.unwrap();
    assert_eq!(calls.recv().await, Some(0));
    fake.wait_for(request::CONSUMER_SEND_MSG_BACK, 1).await;
    assert_eq!(fake.committed("GID", "T", 0), Some(0), "an unsettled message holds the offset");
    assert_eq!(calls.recv().await, Some(1));
    fake.wait_for(request::PULL_MESSAGE, 2).await;
    consumer.stop().await;
    assert_eq!(fake.committed("GID", "T", 0), Some(1));
}

#[tokio::test]
async fn an_unsettled_message_is_not_committed_by_stopping() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"x", b"");
    let client = fake.client().await;
    let listener = failing(Arc::new(tokio::sync::Semaphore::new(1000)));
    let subscriptions = vec![Subscription::new("T", "*")];
    let consumer = client.push_consumer("GID", subscriptions, from_first(), listener).await.unwrap();
    fake.wait_for(request::CONSUMER_SEND_MSG_BACK, 1).await;
    consumer.stop().await;
    assert_eq!(fake.committed("GID", "T", 0), Some(0));
}

#[tokio::test]
async fn a_listener_that_panics_fails_its_message_only() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"bad", b"");
    fake.store("T", 0, b"good", b"");
    fake.fault(request::CONSUMER_SEND_MSG_BACK, Fault::Answer(response::SUCCESS, ""));
    let client = fake.client().await;
    let (sender, mut good) = mpsc::unbounded_channel();
    let listener = move |messages: Vec<ReceivedMessage>| {
        let sender = sender.clone();
        async move {
            assert!(&messages[0].body[..] != b"bad", "on purpose");
            sender.send(()).unwrap();
            ConsumeResult::Success
        }
    };
    let subscriptions = vec![Subscription::new("T", "*")];
    let _consumer = client.push_consumer("GID", subscriptions, from_first(), listener).await.unwrap();
    good.recv().await.unwrap();
    fake.wait_for(request::CONSUMER_SEND_MSG_BACK, 1).await;
}

#[tokio::test]
async fn an_offset_out_of_range_is_set_right() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let queue = ferromq_client::MessageQueue::new("T", "a", 0);
    let offset = ferromq_protocol::types::QueueOffset(99);
    client.pull_consumer("GID").unwrap().commit(&queue, offset).await.unwrap();
    let (_consumer, mut got) = start(&client, from_first()).await;
    fake.wait_for(request::PULL_MESSAGE, 2).await;
    fake.store("T", 0, b"x", b"");
    receive(&mut got, 1).await;
}

#[tokio::test]
async fn a_consumer_needs_a_free_group_and_a_topic() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let (_consumer, _got) = start(&client, from_first()).await;
    let listener = |_| std::future::ready(ConsumeResult::Success);
    let start = |group: &'static str, topics: &[&str]| {
        let subscriptions = topics.iter().map(|topic| Subscription::new(*topic, "*")).collect();
        client.push_consumer(group, subscriptions, from_first(), listener)
    };
    assert_eq!(start("GID", &["T"]).await.unwrap_err(), StartError::GroupTaken("GID".to_owned()));
    assert_eq!(start("GID2", &[]).await.unwrap_err(), StartError::NoSubscription);
    assert!(matches!(start("GID2", &["unknown"]).await.unwrap_err(), StartError::Route(_)));
    assert!(matches!(start("DEFAULT_CONSUMER", &["T"]).await.unwrap_err(), StartError::Invalid(_)));
}
