//! Bodies and files written by Java: each is read into its type, written again, and means the same.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod support;

use std::collections::BTreeSet;

use ferromq_protocol::body::{self, RegisterBrokerBody};
use ferromq_protocol::code::request as code;
use ferromq_protocol::json::{self, Form, Value};
use ferromq_protocol::{batch, record};
use serde::Serialize;
use serde::de::DeserializeOwned;

use support::recorded;

/// Objects sorted by key, since Java's hash maps have no order.
fn normal(value: Value) -> Value {
    match value {
        Value::List(elements) => Value::List(elements.into_iter().map(normal).collect()),
        Value::Object(members) => {
            let mut members: Vec<_> =
                members.into_iter().map(|(key, value)| (normal(key), normal(value))).collect();
            members.sort_by_key(|(key, _)| json::to_vec(key));
            Value::Object(members)
        }
        scalar => scalar,
    }
}

fn meaning(bytes: &[u8]) -> Value {
    normal(
        json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes))),
    )
}

/// Reads `bytes` as a `T`, writes it in each form, and compares.
fn check<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let value: T =
        json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)));
    for form in [Form::Wire, Form::File] {
        let mut ours = Vec::new();
        json::write(&mut ours, &value, form);
        assert_eq!(meaning(&ours), meaning(bytes), "{}", std::any::type_name::<T>());
    }
}

fn check_request(request: i32, body: &[u8]) {
    match request {
        code::HEART_BEAT => check::<body::HeartbeatData>(body),
        code::CHECK_CLIENT_CONFIG => check::<body::CheckClientRequest>(body),
        code::LOCK_BATCH_MQ | code::UNLOCK_BATCH_MQ => check::<body::LockBatchRequest>(body),
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => check::<body::SubscriptionGroupConfig>(body),
        code::QUERY_ASSIGNMENT => check::<body::QueryAssignmentRequest>(body),
        code::SET_MESSAGE_REQUEST_MODE => check::<body::SetMessageRequestMode>(body),
        code::REGISTER_BROKER => {
            let decoded = RegisterBrokerBody::decode(body).unwrap();
            assert_eq!(meaning(&decoded.to_json()), meaning(body));
        }
        code::SEND_BATCH_MESSAGE => {
            let mut ours = Vec::new();
            for entry in batch::entries(body) {
                batch::push(&mut ours, &entry.unwrap()).unwrap();
            }
            assert_eq!(ours, body);
        }
        code::CHECK_TRANSACTION_STATE => check_records(body),
        _ => panic!("request {request} with a body"),
    }
}

fn check_response(request: i32, body: &[u8]) {
    match request {
        code::GET_ROUTEINFO_BY_TOPIC => {
            let route: body::TopicRouteData = json::from_slice(body).unwrap();
            let mut strict = Vec::new();
            json::write(&mut strict, &route, Form::Strict);
            assert_eq!(String::from_utf8(strict).unwrap(), String::from_utf8(body.to_vec()).unwrap());
        }
        code::GET_BROKER_CLUSTER_INFO => check::<body::ClusterInfo>(body),
        code::REGISTER_BROKER | code::GET_BROKER_RUNTIME_INFO => check::<body::KvTable>(body),
        code::GET_ALL_TOPIC_CONFIG => check::<body::TopicConfigAndMappingTable>(body),
        code::GET_TOPIC_CONFIG => check::<body::TopicConfig>(body),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => check::<body::SubscriptionGroupTable>(body),
        code::GET_TOPIC_STATS_INFO => check::<body::TopicStatsTable>(body),
        code::GET_CONSUMER_CONNECTION_LIST => check::<body::ConsumerConnection>(body),
        code::GET_PRODUCER_CONNECTION_LIST => check::<body::ProducerConnection>(body),
        code::GET_ALL_PRODUCER_INFO => check::<body::ProducerTableInfo>(body),
        code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER | code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => {
            check::<body::TopicList>(body);
        }
        code::GET_CONSUME_STATS => check::<body::ConsumeStats>(body),
        code::GET_BROKER_CONSUME_STATS => check::<body::ConsumeStatsList>(body),
        code::INVOKE_BROKER_TO_RESET_OFFSET => check::<body::ResetOffsetBody>(body),
        code::QUERY_TOPIC_CONSUME_BY_WHO => check::<body::GroupList>(body),
        code::VIEW_BROKER_STATS_DATA => check::<body::BrokerStatsData>(body),
        code::QUERY_CONSUME_QUEUE => check::<body::ConsumeQueueAnswer>(body),
        code::GET_CONSUMER_LIST_BY_GROUP => check::<body::ConsumerList>(body),
        code::LOCK_BATCH_MQ => check::<body::LockBatchAnswer>(body),
        code::QUERY_ASSIGNMENT => check::<body::QueryAssignmentAnswer>(body),
        code::GET_BROKER_HA_STATUS => check::<body::HaRuntimeInfo>(body),
        // Only passed on.
        code::GET_CONSUMER_RUNNING_INFO => {}
        code::PULL_MESSAGE
        | code::LITE_PULL_MESSAGE
        | code::POP_MESSAGE
        | code::QUERY_MESSAGE
        | code::VIEW_MESSAGE_BY_ID => check_records(body),
        _ => panic!("answer to {request} with a body"),
    }
}

/// Decodes each record and encodes it again from its parts.
fn check_records(mut body: &[u8]) {
    while !body.is_empty() {
        let decoded = record::decode(body).unwrap();
        assert!(decoded.body_crc_matches());
        let mut ours = Vec::new();
        record::encode(&mut ours, &decoded.parts(), record::PropertyCrc::Off).unwrap();
        record::patch_position(&mut ours, decoded.physical, decoded.queue_offset, decoded.store_timestamp);
        assert_eq!(ours, decoded.bytes);
        body = &body[decoded.bytes.len()..];
    }
}

#[test]
fn bodies_keep_their_meaning() {
    let mut seen = BTreeSet::new();
    for recorded in recorded().iter().filter(|recorded| !recorded.frame.body.is_empty()) {
        let body = &recorded.frame.body;
        let is_answer = recorded.frame.is_response();
        match recorded.request_code {
            // Properties text, and messages of producers.
            code::GET_BROKER_CONFIG | code::UPDATE_BROKER_CONFIG | code::GET_NAMESRV_CONFIG => {}
            code::SEND_MESSAGE_V2 | code::SEND_REPLY_MESSAGE_V2 | code::PUSH_REPLY_MESSAGE_TO_CLIENT => {}
            request if is_answer => check_response(request, body),
            request => check_request(request, body),
        }
        seen.insert((recorded.request_code, is_answer));
    }
    assert!(seen.len() > 40, "{}", seen.len());
}

#[test]
fn json_is_written_byte_for_byte_like_java() {
    let mut count = 0;
    for recorded in recorded() {
        let body = &recorded.frame.body;
        let strict = recorded.request_code == code::GET_ROUTEINFO_BY_TOPIC;
        if body.first() != Some(&b'{') || !body.starts_with(b"{\"") || strict {
            continue;
        }
        let Ok(value) = json::from_slice::<Value>(body) else { continue };
        let ours = String::from_utf8(json::to_vec(&value)).unwrap();
        assert_eq!(ours, String::from_utf8_lossy(body), "{}", recorded.scenario);
        count += 1;
    }
    assert!(count > 400, "{count}");
}

macro_rules! files {
    ($($test:ident: $file:literal as $type:ty,)+) => {
        $(
            #[test]
            fn $test() {
                let java = include_bytes!(concat!("golden/config/", $file));
                check::<$type>(java);
                // Java's own order of keys, through a type that keeps it: equal to the byte.
                let value: Value = json::from_slice(java).unwrap();
                let mut ours = Vec::new();
                json::write(&mut ours, &value, Form::File);
                assert_eq!(String::from_utf8(ours).unwrap(), std::str::from_utf8(java).unwrap());
            }
        )+
    };
}

files! {
    topics_file: "topics.json" as body::TopicConfigTable,
    subscription_group_file: "subscriptionGroup.json" as body::SubscriptionGroupTable,
    consumer_offset_file: "consumerOffset.json" as body::ConsumerOffsetTable,
    delay_offset_file: "delayOffset.json" as body::DelayOffsetTable,
    consumer_order_info_file: "consumerOrderInfo.json" as Value,
    consumer_filter_file: "consumerFilter.json" as Value,
}

#[test]
fn compressed_registration_carries_what_its_form_can() {
    let registrations: Vec<_> =
        recorded().into_iter().filter(|recorded| recorded.frame.code == code::REGISTER_BROKER).collect();
    assert!(!registrations.is_empty());
    for registration in registrations {
        let body = RegisterBrokerBody::decode(&registration.frame.body).unwrap();
        let compressed = body.to_compressed();
        assert_eq!(compressed[0], 0x78);
        let mut expected = body.clone();
        expected.topic_config_serialize_wrapper.mapping_data_version = body::DataVersion::default();
        for topic in expected.topic_config_serialize_wrapper.topic_config_table.values_mut() {
            topic.order = false;
            topic.topic_sys_flag = 0;
        }
        assert_eq!(RegisterBrokerBody::decode(&compressed).unwrap(), expected);
        for cut in 1..compressed.len().min(200) {
            assert!(RegisterBrokerBody::decode(&compressed[..compressed.len() - cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn compressed_registration_made_by_java() {
    let body = RegisterBrokerBody::decode(include_bytes!("golden/registration-5.5.0.zlib")).unwrap();
    let table = &body.topic_config_serialize_wrapper;
    assert_eq!(
        table.data_version,
        body::DataVersion { counter: 3, state_version: 0, timestamp: 1_700_000_000_000 }
    );
    let topic_a = &table.topic_config_table["TopicA"];
    assert_eq!((topic_a.read_queue_nums, topic_a.write_queue_nums, topic_a.perm), (4, 8, 6));
    let topic_b = &table.topic_config_table["TopicB"];
    assert_eq!(topic_b.topic_filter_type, body::TopicFilterType::MultiTag);
    assert_eq!(topic_b.attributes["message.type"], "FIFO");
    assert_eq!(topic_b.attributes["cleanup.policy"], "DELETE");
    assert_eq!(
        String::from_utf8(json::to_vec(&table.topic_queue_mapping_info_map["TopicS"])).unwrap(),
        r#"{"bname":"broker-a","currIdMap":{0:1},"dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"TopicS","totalQueues":2}"#
    );
    assert_eq!(RegisterBrokerBody::decode(&body.to_compressed()).unwrap(), body);
}

/// Reads what the Java classes wrote and expects the same bytes.
fn exact<T: Serialize + DeserializeOwned>(java: &str) {
    let value: T = json::from_slice(java.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(json::to_vec(&value)).unwrap(), java);
}

#[test]
fn bodies_that_no_recorded_frame_has() {
    exact::<body::ResetOffsetBody>(
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:5}}"#,
    );
    exact::<body::ConsumerStatusBody>(
        r#"{"consumerTable":{"cid":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:5}},"messageQueueTable":{}}"#,
    );
    exact::<body::GroupForbidden>(r#"{"group":"g","readable":true,"topic":"t"}"#);
    exact::<body::SubscriptionGroupConfig>(
        r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"CG","groupRetryPolicy":{"customizedRetryPolicy":{"next":[1000,5000,10000,30000,60000,120000,180000,240000,300000,360000,420000,480000,540000,600000,1200000,1800000,3600000,7200000]},"exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2},"type":"EXPONENTIAL"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"T","version":1}],"whichBrokerWhenConsumeSlowly":1}"#,
    );
    exact::<body::CorrectionOffsets>(r#"{"correctionOffsets":{0:5}}"#);
    exact::<body::SubscriptionAnswer>(r#"{"group":"CG","topic":"T"}"#);
    exact::<body::BrokerMemberGroupAnswer>(
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"x:1"},"brokerName":"b","cluster":"c"}}"#,
    );
    exact::<body::ConsumeMessageDirectlyResult>(
        r#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":0}"#,
    );
    exact::<body::MessageRequestModeTable>(
        r#"{"messageRequestModeMap":{"TopicA":{"CG":{"consumerGroup":"CG","mode":"PULL","popShareQueueNum":0,"topic":"TopicA"}}}}"#,
    );
}

#[test]
fn defaults_are_javas() {
    let java = r#"{"consumeFromMinEnable":true,"groupRetryPolicy":{"customizedRetryPolicy":{},"exponentialRetryPolicy":{}}}"#;
    let group: body::SubscriptionGroupConfig = json::from_slice(java.as_bytes()).unwrap();
    let policy = &group.group_retry_policy;
    assert_eq!(policy.customized_retry_policy.as_ref().unwrap().next.len(), 18);
    assert_eq!(policy.exponential_retry_policy.unwrap().max, 7_200_000);
    assert_eq!((group.retry_max_times, group.which_broker_when_consume_slowly), (16, 1));
    let topic: body::TopicConfig = json::from_slice(b"{}").unwrap();
    assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (16, 16, 6));
}

#[test]
fn heartbeat_of_a_go_client_is_read() {
    let go = r#"{"clientID":"c","producerDataSet":[{"groupName":"PG"}],"consumerDataSet":[{"groupName":"CG","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"T","subString":"TagA","tagsSet":["TagA"],"codeSet":["2598919"],"subVersion":1700000000000,"expressionType":"TAG"}],"unitMode":false}]}"#;
    let heartbeat: body::HeartbeatData = json::from_slice(go.as_bytes()).unwrap();
    assert_eq!((heartbeat.heartbeat_fingerprint, heartbeat.without_sub), (0, false));
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, body::ConsumeFromWhere::FirstOffset);
    assert_eq!(consumer.subscription_data_set[0].code_set, [2_598_919]);
}

#[test]
fn names_we_do_not_know_do_not_kill_a_heartbeat() {
    let text = r#"{"clientID":"c","consumerDataSet":[{"groupName":"CG","consumeType":"CONSUME_BY_TELEPATHY","messageModel":null,"subscriptionDataSet":[{"topic":"T","subVersion":"17"}]}],"future":{"x":1}}"#;
    let heartbeat: body::HeartbeatData = json::from_slice(text.as_bytes()).unwrap();
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_type, body::ConsumeType::Passively);
    assert_eq!(consumer.message_model, body::MessageModel::Clustering);
    assert_eq!(consumer.subscription_data_set[0].sub_version, 17);
    assert_eq!(consumer.subscription_data_set[0].expression_type.as_deref(), Some("TAG"));
}

#[test]
fn data_versions_are_ordered_by_state_then_counter_then_time() {
    let version = |state_version, counter, timestamp| body::DataVersion { counter, state_version, timestamp };
    assert!(version(1, 0, 0) > version(0, 9, 9));
    assert!(version(0, 2, 0) > version(0, 1, 9));
    assert!(version(0, 1, 2) > version(0, 1, 1));
    assert_eq!(version(4, 1, 1).next(7), version(4, 2, 7));
}
