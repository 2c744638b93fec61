//! Reading queues on one's own.

use std::time::Duration;

use ferromq_client::{MessageQueue, PullRequest, PullStatus, Subscription};
use ferromq_protocol::code::{request, response};
use ferromq_protocol::types::QueueOffset;

use crate::fake::{Fake, Fault};

fn queue() -> MessageQueue {
    MessageQueue::new("T", "a", 0)
}

#[tokio::test]
async fn messages_come_with_all_they_have() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"one", b"TAGS\x01TagA\x02KEYS\x01k1 k2\x02UNIQ_KEY\x01AB\x02");
    fake.store("T", 0, b"two", b"");
    let client = fake.client().await;
    let consumer = client.pull_consumer("GID").unwrap();
    let everything = Subscription::new("T", "*");
    let answer = consumer.pull(&queue(), &everything, PullRequest::new(QueueOffset(0))).await.unwrap();
    assert_eq!(answer.status, PullStatus::Found);
    assert_eq!((answer.next_offset.0, answer.min_offset.0, answer.max_offset.0), (2, 0, 2));
    let [one, two] = &answer.messages[..] else { panic!("{answer:?}") };
    assert_eq!((&one.body[..], one.queue_offset.0, one.physical.0), (&b"one"[..], 0, 0));
    assert_eq!((one.tag(), one.msg_id.as_str()), (Some("TagA"), "AB"));
    assert_eq!(one.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!(one.queue, queue());
    assert_eq!((&two.body[..], two.queue_offset.0, two.physical.0), (&b"two"[..], 1, 1000));
    assert_eq!(two.msg_id, two.offset_msg_id, "without a unique key the place is the id");
    assert_eq!(two.offset_msg_id.len(), 32);
}

#[tokio::test]
async fn tags_are_compared_again_here() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    // The two tags have the same hash, so a broker sends both.
    fake.store("T", 0, b"wanted", b"TAGS\x01Aa\x02");
    fake.store("T", 0, b"not", b"TAGS\x01BB\x02");
    let client = fake.client().await;
    let consumer = client.pull_consumer("GID").unwrap();
    let tagged = Subscription::new("T", "Aa");
    let answer = consumer.pull(&queue(), &tagged, PullRequest::new(QueueOffset(0))).await.unwrap();
    assert_eq!(answer.messages.len(), 1);
    assert_eq!(answer.next_offset.0, 2, "what is not wanted is passed over");
    let pull = fake.requests(request::PULL_MESSAGE).remove(0);
    assert_eq!(pull.field("subscription"), Some("Aa"));
    assert_eq!(pull.field("sysFlag"), Some("4"));
}

#[tokio::test]
async fn every_end_of_a_pull_is_told_apart() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"one", b"");
    let client = fake.client().await;
    let consumer = client.pull_consumer("GID").unwrap();
    let everything = Subscription::new("T", "*");
    for (offset, status, next) in [(1, PullStatus::NoNewMessage, 1), (9, PullStatus::OffsetIllegal, 1)] {
        let pull = PullRequest::new(QueueOffset(offset));
        let answer = consumer.pull(&queue(), &everything, pull).await.unwrap();
        assert_eq!((answer.status, answer.next_offset.0), (status, next));
        assert!(answer.messages.is_empty());
    }
    fake.fault(request::PULL_MESSAGE, Fault::Answer(response::NO_PERMISSION, "closed"));
    let error = consumer.pull(&queue(), &everything, PullRequest::new(QueueOffset(0))).await.unwrap_err();
    assert_eq!(error.code(), Some(16));
    // An answer that lacks its fields is an error, not a guess.
    fake.fault(request::PULL_MESSAGE, Fault::Answer(response::SUCCESS, ""));
    let error = consumer.pull(&queue(), &everything, PullRequest::new(QueueOffset(0))).await.unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn a_held_pull_gets_the_message_that_comes() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    let client = fake.client().await;
    let consumer = client.pull_consumer("GID").unwrap();
    let waiting = tokio::spawn(async move {
        let pull = PullRequest::new(QueueOffset(0)).wait(Duration::from_secs(10));
        consumer.pull(&queue(), &Subscription::new("T", "*"), pull).await.unwrap()
    });
    let pull = fake.wait_for(request::PULL_MESSAGE, 1).await.remove(0);
    assert_eq!(pull.field("sysFlag"), Some("6"));
    assert_eq!(pull.field("suspendTimeoutMillis"), Some("10000"));
    fake.store("T", 0, b"now", b"");
    assert_eq!(&waiting.await.unwrap().messages[0].body[..], b"now");
}

#[tokio::test]
async fn offsets_are_committed_and_found_again() {
    let fake = Fake::start("a").await;
    fake.route("T", &[(&fake, 1)]);
    fake.store("T", 0, b"one", b"");
    let client = fake.client().await;
    let consumer = client.pull_consumer("GID").unwrap();
    assert_eq!(consumer.queues("T").await.unwrap(), [queue()]);
    assert_eq!(consumer.committed(&queue()).await.unwrap(), None);
    consumer.commit(&queue(), QueueOffset(1)).await.unwrap();
    assert_eq!(consumer.committed(&queue()).await.unwrap(), Some(QueueOffset(1)));
    assert_eq!(consumer.max_offset(&queue()).await.unwrap(), QueueOffset(1));
    assert_eq!(consumer.min_offset(&queue()).await.unwrap(), QueueOffset(0));
    fake.fault(request::QUERY_CONSUMER_OFFSET, Fault::Answer(response::SYSTEM_ERROR, "loading"));
    assert!(consumer.committed(&queue()).await.is_err(), "not knowing is not the same as having none");
}
