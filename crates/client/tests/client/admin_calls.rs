//! Admin calls: what goes over the wire, and how refusals come back.

use ferromq_client::{CallError, GroupOffsets};
use ferromq_protocol::body::{SubscriptionGroupConfig, TopicConfig};
use ferromq_protocol::code::{request, response};
use ferromq_protocol::json;

use crate::fake::{Fake, Fault};

#[tokio::test]
async fn a_topic_is_described_by_the_fields_of_the_request() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    fake.fault(request::UPDATE_AND_CREATE_TOPIC, Fault::Answer(response::SUCCESS, ""));
    let mut config = TopicConfig { topic_name: "T".to_owned(), read_queue_nums: 8, ..TopicConfig::default() };
    config.attributes.insert("+message.type".to_owned(), "FIFO".to_owned());
    client.admin().create_topic(&fake.address(), &config).await.unwrap();
    let sent = fake.requests(request::UPDATE_AND_CREATE_TOPIC).remove(0);
    let expected = [
        ("topic", "T"),
        ("readQueueNums", "8"),
        ("writeQueueNums", "16"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
        ("attributes", "+message.type=FIFO"),
    ];
    for (name, value) in expected {
        assert_eq!(sent.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_group_is_described_by_the_body() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    fake.fault(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, Fault::Answer(response::SUCCESS, ""));
    let config = SubscriptionGroupConfig { group_name: "GID".to_owned(), ..Default::default() };
    client.admin().create_group(&fake.address(), &config).await.unwrap();
    let sent = fake.requests(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).remove(0);
    assert_eq!(json::from_slice::<SubscriptionGroupConfig>(&sent.body).unwrap(), config);

    fake.fault(request::DELETE_SUBSCRIPTIONGROUP, Fault::Answer(response::SUCCESS, ""));
    client.admin().delete_group(&fake.address(), "GID", GroupOffsets::Delete).await.unwrap();
    let sent = fake.requests(request::DELETE_SUBSCRIPTIONGROUP).remove(0);
    assert_eq!(sent.field("cleanOffset"), Some("true"));
}

#[tokio::test]
async fn a_refusal_tells_code_remark_and_who_said_it() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    fake.fault(request::DELETE_TOPIC_IN_BROKER, Fault::Answer(response::INVALID_PARAMETER, "system topic"));
    let error = client.admin().delete_topic(&fake.address(), "TBW102").await.unwrap_err();
    assert_eq!(error.code(), Some(29));
    let text = error.to_string();
    for part in [&fake.address(), "29", "INVALID_PARAMETER", "system topic"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn an_answer_without_its_body_is_an_error() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    fake.fault(request::GET_TOPIC_STATS_INFO, Fault::Answer(response::SUCCESS, ""));
    let error = client.admin().topic_stats(&fake.address(), "T").await.unwrap_err();
    assert!(matches!(error, CallError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn configuration_is_sent_as_properties() {
    let fake = Fake::start("a").await;
    let client = fake.client().await;
    fake.fault(request::UPDATE_BROKER_CONFIG, Fault::Answer(response::SUCCESS, ""));
    let values = [("brokerPermission", "4"), ("deleteWhen", "04;05")];
    client.admin().update_broker_config(&fake.address(), &values).await.unwrap();
    let sent = fake.requests(request::UPDATE_BROKER_CONFIG).remove(0);
    assert_eq!(&sent.body[..], b"brokerPermission=4\ndeleteWhen=04;05\n");
}
