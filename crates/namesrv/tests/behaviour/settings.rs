//! Key-value settings and the configuration, changed over the wire and kept in files.

use ferromq_namesrv::server::StartError;

use crate::support::{TestServer, meaning, outcome, try_start};

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn settings_are_put_read_listed_deleted_and_survive_a_restart() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    let (namespace, key) = (("namespace", "n"), ("key", "k"));
    assert_eq!(outcome(&client.ask(100, &[namespace, key, ("value", "v")], b"").await), (0, None));
    assert_eq!(client.ask(101, &[namespace, key], b"").await.field("value"), Some("v"));
    assert_eq!(text(&client.ask(219, &[namespace], b"").await.body), r#"{"table":{"k":"v"}}"#);

    let TestServer { server, dir } = server;
    server.stop().await;
    let server = TestServer { server: try_start(dir.path(), &[]).unwrap(), dir };
    let mut client = server.connect().await;
    assert_eq!(client.ask(101, &[namespace, key], b"").await.field("value"), Some("v"));
    assert_eq!(outcome(&client.ask(102, &[namespace, key], b"").await), (0, None));
    assert_eq!(client.ask(101, &[namespace, key], b"").await.code, 22);
    assert_eq!(text(&client.ask(219, &[namespace], b"").await.body), r#"{"table":{}}"#);
    let file = std::fs::read_to_string(server.dir.path().join("kvConfig.json")).unwrap();
    assert_eq!(file, r#"{"configTable":{"n":{}}}"#);
}

#[tokio::test]
async fn a_setting_that_cannot_be_kept_is_an_error() {
    let server = TestServer::start(&[]);
    std::fs::create_dir(server.dir.path().join("kvConfig.json.tmp")).unwrap();
    let mut client = server.connect().await;
    let reply = client.ask(100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"").await;
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().contains("kvConfig.json"));
    assert_eq!(client.ask(101, &[("namespace", "n"), ("key", "k")], b"").await.code, 22);
}

#[tokio::test]
async fn broken_settings_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kvConfig.json"), "no json").unwrap();
    assert!(matches!(try_start(dir.path(), &[]), Err(StartError::Settings(_))));
}

#[tokio::test]
async fn a_taken_port_stops_the_start() {
    let server = TestServer::start(&[]);
    let port = server.server.address().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let Err(StartError::Listen(error)) = try_start(dir.path(), &[("listenPort", &port)]) else {
        panic!("two on one port")
    };
    assert!(error.is_taken());
}

#[tokio::test]
async fn ordered_topics_are_told_to_brokers_and_in_routes_as_configured() {
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "broker-a:4")];
    for (to_brokers, in_routes) in [("true", "false"), ("false", "true")] {
        let server = TestServer::start(&[
            ("returnOrderTopicConfigToBroker", to_brokers),
            ("orderMessageEnable", in_routes),
        ]);
        let mut client = server.connect().await;
        assert!(client.register("broker-a", &["T", "U"]).await.body.is_empty(), "there never was one");
        client.ask(100, &order, b"").await;
        let told = client.register("broker-a", &["T", "U"]).await;
        let expected = if to_brokers == "true" { meaning(br#"{"table":{"T":"broker-a:4"}}"#) } else { None };
        assert_eq!(meaning(&told.body), expected);
        let is_in_route = async |client: &mut crate::support::Client, topic: &str| {
            text(&client.ask(105, &[("topic", topic)], b"").await.body)
                .contains(r#""orderTopicConf":"broker-a:4""#)
        };
        assert_eq!(is_in_route(&mut client, "T").await, in_routes == "true");
        assert!(!is_in_route(&mut client, "U").await);
    }
}

#[tokio::test]
async fn the_configuration_is_reported_changed_and_written_back() {
    let server = TestServer::start(&[]);
    let mut client = server.connect().await;
    let report = text(&client.ask(319, &[], b"").await.body);
    assert!(report.contains("enableTopicList=true\n"), "{report}");
    assert!(report.contains(&format!("listenPort={}\n", server.server.address().port())), "{report}");
    let lines: Vec<&str> = report.lines().collect();
    assert!(lines.is_sorted());

    assert_eq!(client.ask(311, &[], b"").await.code, 0);
    let body = b"enableTopicList=false\nnoSuchKey=1\n";
    assert_eq!(outcome(&client.ask(318, &[], body).await), (0, None));
    assert_eq!(outcome(&client.ask(311, &[], b"").await), (1, Some("disable")), "it acts at once");
    assert!(text(&client.ask(319, &[], b"").await.body).contains("enableTopicList=false\n"));
    let file = std::fs::read_to_string(server.dir.path().join("namesrv.properties")).unwrap();
    assert!(file.contains("enableTopicList=false\n") && file.contains("enableAllTopicList=true\n"), "{file}");
    assert_eq!(outcome(&client.ask(318, &[], b"").await), (0, None), "nothing to change");
}

#[tokio::test]
async fn updates_that_must_not_be_are_refused_whole() {
    let server = TestServer::start(&[("configBlackList", "configBlackList;kvConfigPath;orderMessageEnable")]);
    let mut client = server.connect().await;
    let refused = (16, Some("Can not update config in black list."));
    for key in ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome", "orderMessageEnable"] {
        let body = format!("enableTopicList=false\n{key}=x");
        assert_eq!(outcome(&client.ask(318, &[], body.as_bytes()).await), refused, "{key}");
    }
    assert_eq!(outcome(&client.ask(318, &[], b"a=\\u00").await), (1, Some("string2Properties error")));
    assert_eq!(client.ask(318, &[], b"scanNotActiveBrokerInterval=soon").await.code, 1);
    let long = format!("enableTopicList=false\n# {}", "x".repeat(1 << 20));
    assert_eq!(client.ask(318, &[], long.as_bytes()).await.code, 1);
    assert_eq!(client.ask(311, &[], b"").await.code, 0, "nothing of it was applied");
    assert!(!server.dir.path().join("namesrv.properties").exists());
}

#[tokio::test]
async fn an_update_that_cannot_be_written_is_not_applied() {
    let server = TestServer::start(&[]);
    std::fs::create_dir(server.dir.path().join("namesrv.properties.tmp")).unwrap();
    let mut client = server.connect().await;
    let reply = client.ask(318, &[], b"enableTopicList=false").await;
    assert_eq!(reply.code, 1);
    assert!(reply.remark.unwrap().contains("namesrv.properties"));
    assert_eq!(client.ask(311, &[], b"").await.code, 0);
}
