use super::*;

/// A name server at a moment.
struct World {
    routes: Routes,
    now: Instant,
}

/// A registration of `broker-a` as most tests want it, to be changed where they do not.
fn registration(broker_id: i64, address: &str, topics: &[&str]) -> Registration {
    Registration {
        member: member(address),
        broker_name: "broker-a".to_owned(),
        broker_id,
        ha_address: format!("ha-of-{address}"),
        zone: None,
        liveness: None,
        acting_master: Some(false),
        topics: table(1, topics),
        filter_servers: Vec::new(),
        connection: ConnectionId(1),
    }
}

fn member(address: &str) -> Member {
    Member { cluster: "c".to_owned(), address: address.to_owned() }
}

fn table(counter: i64, topics: &[&str]) -> TopicConfigAndMappingTable {
    let config = |name: &&str| {
        let config =
            TopicConfig { topic_name: (*name).to_owned(), read_queue_nums: 4, ..TopicConfig::default() };
        ((*name).to_owned(), config)
    };
    TopicConfigAndMappingTable {
        data_version: DataVersion { counter, state_version: 0, timestamp: 7 },
        topic_config_table: topics.iter().map(config).collect(),
        ..TopicConfigAndMappingTable::default()
    }
}

fn named(broker_name: &str, registration: Registration) -> Registration {
    Registration { broker_name: broker_name.to_owned(), ..registration }
}

fn acting(registration: Registration) -> Registration {
    Registration { acting_master: Some(true), ..registration }
}

impl World {
    fn new() -> Self {
        Self { routes: Routes::default(), now: Instant::now() }
    }

    fn register(&mut self, registration: Registration) -> Leader {
        self.routes.register(registration, false, self.now).0
    }

    fn notice(&mut self, registration: Registration) -> Option<Notice> {
        self.routes.register(registration, false, self.now).1
    }

    fn unregister(&mut self, broker_id: i64, address: &str) -> Option<Notice> {
        let departure = Departure { member: member(address), broker_name: "broker-a".to_owned(), broker_id };
        self.routes.unregister(&departure)
    }

    fn pass(&mut self, time: Duration) -> Expired {
        self.now += time;
        self.routes.expire(self.now)
    }

    fn perm(&self, topic: &str, broker_name: &str) -> Option<i32> {
        let queues = self.routes.topics.get(topic)?;
        position(queues, broker_name).ok().map(|at| queues[at].perm)
    }

    fn members(&self, broker_name: &str) -> Vec<(i64, String)> {
        self.routes.member_group("c", broker_name).broker_addrs.into_iter().collect()
    }

    fn topics(&self) -> Vec<String> {
        self.routes.all_topics().topic_list
    }
}

#[test]
fn a_registered_broker_is_in_the_route_of_its_topics() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    let route = world.routes.route("T", false).unwrap();
    assert_eq!(
        route.queue_datas,
        [QueueData {
            broker_name: "broker-a".to_owned(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }]
    );
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "a:1");
    assert_eq!(route.broker_datas[0].cluster, "c");
    assert_eq!(world.routes.route("V", false), None);
    assert_eq!(world.topics(), ["T", "U"]);
    let info = world.routes.cluster_info();
    assert_eq!(info.cluster_addr_table["c"], ["broker-a"]);
}

#[test]
fn a_follower_is_told_its_leader_and_brings_no_topics() {
    let mut world = World::new();
    assert_eq!(world.register(registration(1, "b:1", &[])), Leader::default(), "there is none yet");
    assert_eq!(world.register(registration(0, "a:1", &["T", "U"])), Leader::default(), "it leads itself");
    let leader = world.register(registration(1, "b:1", &["T", "U", "V"]));
    let expected = Leader { address: Some("a:1".to_owned()), ha_address: Some("ha-of-a:1".to_owned()) };
    assert_eq!(leader, expected);
    assert_eq!(world.topics(), ["T", "U"]);
    assert_eq!(world.members("broker-a").len(), 2);
}

#[test]
fn a_first_registration_of_one_topic_is_taken_and_not_for_the_whole() {
    let mut world = World::new();
    let part = registration(0, "a:1", &["T"]);
    world.register(part.clone());
    assert_eq!(world.topics(), ["T"]);
    let known = world.routes.data_version(&part.member);
    assert_ne!(known, Some(part.topics.data_version), "whoever asks learns that something is missing");
    let whole = registration(0, "a:1", &["T", "U"]);
    assert_eq!(whole.topics.data_version, part.topics.data_version);
    world.register(whole.clone());
    assert_eq!(world.topics(), ["T", "U"], "the same version brings the rest");
    assert_eq!(world.routes.data_version(&part.member), Some(whole.topics.data_version));

    world.register(Registration { topics: table(2, &["V"]), ..part });
    assert_eq!(world.topics(), ["T", "U", "V"], "later ones carry what changed");
    assert_eq!(world.routes.data_version(&whole.member), Some(table(2, &[]).data_version));
    // Without any topic there is nothing that could be missing.
    world.register(named("broker-b", registration(0, "b:1", &[])));
}

#[test]
fn topics_are_taken_when_the_version_changes_or_they_are_missing() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    let with_perm = |counter, perm| {
        let mut registration = registration(0, "a:1", &["T", "U"]);
        registration.topics = table(counter, &["T", "U"]);
        for config in registration.topics.topic_config_table.values_mut() {
            config.perm = perm;
        }
        registration
    };
    world.register(with_perm(1, 4));
    assert_eq!(world.perm("T", "broker-a"), Some(6), "the same version says nothing new");
    world.register(with_perm(2, 4));
    assert_eq!(world.perm("T", "broker-a"), Some(4));
    world.routes.delete_topic("T", None);
    world.register(with_perm(2, 2));
    assert_eq!((world.perm("T", "broker-a"), world.perm("U", "broker-a")), (Some(2), Some(4)));
}

#[test]
fn missing_topics_are_found_in_small_and_large_tables() {
    let mut world = World::new();
    let many: Vec<String> = (0..200).map(|n| format!("T{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.register(registration(0, "a:1", &many));
    for listed in [&many[..], &many[50..53], &[many[0], many[199]]] {
        for topic in listed {
            world.routes.delete_topic(topic, None);
        }
        let mut again = registration(0, "a:1", listed);
        again.topics.data_version = table(1, &[]).data_version;
        world.register(again);
        assert_eq!(world.topics(), many);
    }
}

#[test]
fn topics_that_are_not_listed_stay_unless_they_are_to_be_dropped() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U", "V"]));
    world.register(named("broker-b", registration(0, "b:1", &["U", "W"])));
    world.register(Registration { topics: table(2, &["T", "X"]), ..registration(0, "a:1", &[]) });
    assert_eq!(world.topics(), ["T", "U", "V", "W", "X"]);
    let whole = Registration { topics: table(3, &["T", "X"]), ..registration(0, "a:1", &[]) };
    world.routes.register(whole, true, world.now);
    assert_eq!(world.topics(), ["T", "U", "W", "X"]);
    assert_eq!(world.perm("U", "broker-a"), None, "only the queues of this broker");
    assert_eq!(world.perm("U", "broker-b"), Some(6));
}

#[test]
fn a_process_that_changes_its_role_keeps_one_entry() {
    let mut world = World::new();
    world.register(registration(1, "a:1", &["T", "U"]));
    world.register(registration(0, "a:1", &["T", "U"]));
    assert_eq!(world.members("broker-a"), [(0, "a:1".to_owned())]);
}

#[test]
fn the_holder_of_an_id_with_the_higher_state_version_keeps_it() {
    let mut world = World::new();
    let at = |state_version, address| {
        let mut registration = registration(0, address, &["T", "U"]);
        registration.topics.data_version.state_version = state_version;
        registration
    };
    world.register(at(5, "a:1"));
    let leader = world.register(at(4, "b:1"));
    assert_eq!(leader, Leader::default());
    assert_eq!(world.members("broker-a"), [(0, "a:1".to_owned())]);
    assert_eq!(world.routes.data_version(&member("b:1")), None);
    world.register(at(5, "b:1"));
    assert_eq!(world.members("broker-a"), [(0, "b:1".to_owned())]);
}

#[test]
fn the_smallest_follower_brings_topics_read_only_when_it_may_act() {
    let mut world = World::new();
    world.register(acting(registration(2, "b:1", &["T", "U"])));
    assert_eq!(world.perm("T", "broker-a"), Some(4));
    world.register(acting(registration(3, "d:1", &["T", "U", "V"])));
    assert_eq!(world.topics(), ["T", "U"], "it is not the smallest");
    world.register(acting(registration(0, "a:1", &["T", "U"])));
    assert_eq!(world.perm("T", "broker-a"), Some(6));

    let mut world = World::new();
    world.register(Registration { acting_master: None, ..registration(2, "b:1", &["T", "U"]) });
    assert!(world.topics().is_empty(), "brokers that know no acting masters are none");
    world.register(registration(2, "b:1", &["T", "U"]));
    assert_eq!(world.perm("T", "broker-a"), Some(6), "it may not act, but it is the smallest");
}

#[test]
fn an_acting_master_is_shown_as_the_leader() {
    let mut world = World::new();
    let addresses = |world: &World, topic: &str, acting_master| {
        let route = world.routes.route(topic, acting_master).unwrap();
        route.broker_datas[0]
            .broker_addrs
            .iter()
            .map(|(id, address)| (*id, address.clone()))
            .collect::<Vec<_>>()
    };
    let members = "rmq_sys_SYNC_BROKER_MEMBER_broker-a";
    world.register(acting(registration(0, "a:1", &["T", members])));
    world.register(acting(registration(2, "b:1", &["T", members])));
    world.register(acting(registration(3, "d:1", &["T", members])));
    assert_eq!(addresses(&world, "T", true)[0], (0, "a:1".to_owned()));
    world.unregister(0, "a:1");
    assert_eq!(world.perm("T", "broker-a"), Some(4), "nobody can be sent to");
    let shown = [(0, "b:1".to_owned()), (3, "d:1".to_owned())];
    let stored = [(2, "b:1".to_owned()), (3, "d:1".to_owned())];
    assert_eq!(addresses(&world, "T", true), shown);
    assert_eq!(addresses(&world, "T", false), stored, "the server does not support it");
    assert_eq!(addresses(&world, members, true), stored, "followers see the group as it is");
    assert_eq!(world.members("broker-a"), stored, "what is stored does not change");
    world.routes.add_write_perm("broker-a");
    assert_eq!(addresses(&world, "T", true), stored, "somebody made it writable");
}

#[test]
fn without_acting_masters_a_lost_leader_leaves_the_queues_writable() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    world.register(registration(1, "b:1", &["T", "U"]));
    world.unregister(0, "a:1");
    assert_eq!(world.perm("T", "broker-a"), Some(6));
    assert_eq!(world.members("broker-a"), [(1, "b:1".to_owned())]);
}

#[test]
fn the_last_member_takes_the_topics_and_the_name_along() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    world.register(registration(1, "a:2", &[]));
    world.register(named("broker-b", registration(0, "b:1", &["U", "V"])));
    world.unregister(0, "a:1");
    assert_eq!(world.topics(), ["T", "U", "V"]);
    world.unregister(1, "a:2");
    assert_eq!(world.topics(), ["U", "V"]);
    assert_eq!(world.routes.cluster_info().cluster_addr_table["c"], ["broker-b"]);
    world.routes.unregister(&Departure {
        member: member("b:1"),
        broker_name: "broker-b".to_owned(),
        broker_id: 0,
    });
    assert_eq!(world.routes.cluster_info(), ClusterInfo::default());
    assert!(world.topics().is_empty() && world.routes.live.is_empty());
    // Unknown ones leave nothing to do.
    assert_eq!(world.unregister(0, "a:1"), None);
}

#[test]
fn a_broker_lives_as_long_as_it_reports() {
    let mut world = World::new();
    let second = Duration::from_secs(1);
    world.register(registration(0, "a:1", &["T", "U"]));
    let hasty = Registration {
        liveness: Some(10 * second),
        connection: ConnectionId(2),
        ..named("broker-b", registration(0, "b:1", &["T", "U"]))
    };
    world.register(hasty);
    assert_eq!(world.pass(10 * second), Expired::default(), "not before its time is over");
    world.routes.heartbeat(&member("b:1"), world.now);
    assert_eq!(world.pass(10 * second), Expired::default());
    let expired = world.pass(second);
    assert_eq!(expired.connections, [ConnectionId(2)]);
    assert_eq!(world.members("broker-b"), []);
    assert_eq!(world.routes.route("T", false).unwrap().broker_datas.len(), 1);
    assert_eq!(world.pass(LIVENESS_DEFAULT - 21 * second), Expired::default());
    assert_eq!(world.pass(second).connections, [ConnectionId(1)]);
    assert!(world.topics().is_empty());
    // Somebody unknown reports: that is no registration.
    world.routes.heartbeat(&member("b:1"), world.now);
    assert_eq!(world.routes.data_version(&member("b:1")), None);
}

#[test]
fn an_absurd_liveness_is_no_panic() {
    let mut world = World::new();
    world.register(Registration { liveness: Some(Duration::MAX), ..registration(0, "a:1", &["T", "U"]) });
    assert_eq!(world.pass(Duration::from_secs(1_000_000)), Expired::default());
    world.register(Registration { liveness: Some(Duration::ZERO), ..registration(0, "a:1", &["T", "U"]) });
    assert_eq!(world.pass(Duration::from_millis(1)).connections, [ConnectionId(1)]);
}

#[test]
fn what_registered_over_a_connection_ends_with_it() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    world.register(named("broker-b", registration(0, "b:1", &["T", "U"])));
    let other = Registration {
        connection: ConnectionId(2),
        ..named("broker-d", registration(0, "d:1", &["T", "U"]))
    };
    world.register(other);
    // A broker that came back over a new connection does not end with the old one.
    world.register(Registration { connection: ConnectionId(2), ..registration(0, "a:1", &["T", "U"]) });
    world.routes.connection_closed(ConnectionId(1));
    let names: Vec<_> = world.routes.cluster_info().broker_addr_table.into_keys().collect();
    assert_eq!(names, ["broker-a", "broker-d"]);
    world.routes.connection_closed(ConnectionId(2));
    assert_eq!(world.routes.cluster_info(), ClusterInfo::default());
}

#[test]
fn write_permission_is_wiped_and_added_per_broker() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    world.register(named("broker-b", registration(0, "b:1", &["T", "V"])));
    assert_eq!(world.routes.wipe_write_perm("broker-a"), 2);
    assert_eq!((world.perm("T", "broker-a"), world.perm("T", "broker-b")), (Some(4), Some(6)));
    assert_eq!(world.routes.wipe_write_perm("broker-a"), 2, "unchanged ones count too");
    assert_eq!(world.routes.add_write_perm("broker-a"), 2);
    assert_eq!(world.perm("T", "broker-a"), Some(6));
    assert_eq!(world.routes.wipe_write_perm("nobody"), 0);
    // It lasts until the broker has something new to say.
    world.routes.wipe_write_perm("broker-a");
    world.register(registration(0, "a:1", &["T", "U"]));
    assert_eq!(world.perm("T", "broker-a"), Some(4));
    world.register(Registration { topics: table(2, &["T", "U"]), ..registration(0, "a:1", &[]) });
    assert_eq!(world.perm("T", "broker-a"), Some(6));
}

#[test]
fn topics_are_deleted_everywhere_or_in_one_cluster() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    let elsewhere = Registration {
        member: Member { cluster: "d".to_owned(), address: "d:1".to_owned() },
        ..named("broker-d", registration(0, "d:1", &["T", "V"]))
    };
    world.register(elsewhere);
    world.routes.delete_topic("T", Some("d"));
    assert_eq!((world.perm("T", "broker-a"), world.perm("T", "broker-d")), (Some(6), None));
    world.routes.delete_topic("T", Some("nowhere"));
    world.routes.delete_topic("V", Some("d"));
    assert_eq!(world.topics(), ["T", "U"]);
    assert_eq!(world.routes.topics_of_cluster("c").topic_list, ["T", "U"]);
    assert!(world.routes.topics_of_cluster("d").topic_list.is_empty());
    assert!(world.routes.topics_of_cluster("nowhere").topic_list.is_empty());
    world.routes.delete_topic("T", None);
    assert_eq!(world.topics(), ["U"]);
}

#[test]
fn single_topics_are_registered_up_to_the_first_unknown_broker() {
    let mut world = World::new();
    world.register(registration(0, "a:1", &["T", "U"]));
    world.register(named("broker-b", registration(0, "b:1", &["U", "V"])));
    let queues = |broker_name: &str| QueueData {
        broker_name: broker_name.to_owned(),
        perm: 2,
        read_queue_nums: 1,
        topic_sys_flag: 0,
        write_queue_nums: 1,
    };
    world.routes.register_topic("T", vec![queues("broker-a"), queues("nobody"), queues("broker-b")]);
    assert_eq!((world.perm("T", "broker-a"), world.perm("T", "broker-b")), (Some(2), None));
    world.routes.register_topic("New", vec![queues("broker-a"), queues("nobody")]);
    assert_eq!(world.perm("New", "broker-a"), None);
    world.routes.register_topic("New", vec![queues("broker-b"), queues("broker-a")]);
    assert_eq!((world.perm("New", "broker-a"), world.perm("New", "broker-b")), (Some(2), Some(2)));
}

#[test]
fn unit_topics_are_listed_by_their_flags() {
    let mut world = World::new();
    let mut whole = registration(0, "a:1", &["None", "Unit", "Sub", "Both"]);
    for (topic, flags) in [("Unit", 1), ("Sub", 2), ("Both", 3)] {
        whole.topics.topic_config_table.get_mut(topic).unwrap().topic_sys_flag = flags;
    }
    world.register(whole);
    let of = |kind| world.routes.topics_of_kind(kind).topic_list;
    assert_eq!(of(TopicKind::Unit), ["Both", "Unit"]);
    assert_eq!(of(TopicKind::UnitSub), ["Both", "Sub"]);
    assert_eq!(of(TopicKind::UnitSubOfOthers), ["Sub"]);
}

#[test]
fn clusters_and_brokers_are_system_topics() {
    let mut world = World::new();
    assert_eq!(world.routes.system_topics(), TopicList::default());
    world.register(registration(0, "a:1", &["T", "U"]));
    let system = world.routes.system_topics();
    assert_eq!(system.topic_list, ["broker-a", "c"]);
    assert_eq!(system.broker_addr.as_deref(), Some("a:1"));
}

#[test]
fn filter_servers_and_mappings_are_passed_on() {
    let mut world = World::new();
    let mut whole = registration(0, "a:1", &["T", "U"]);
    whole.filter_servers = vec!["f:1".to_owned()];
    let mapping: Value = ferromq_protocol::json::from_slice(br#"{"bname":"broker-a","topic":"T"}"#).unwrap();
    whole.topics.topic_queue_mapping_info_map.insert("T".to_owned(), mapping.clone());
    world.register(whole);
    let route = world.routes.route("T", false).unwrap();
    assert_eq!(route.filter_server_table["a:1"], ["f:1"]);
    assert_eq!(route.topic_queue_mapping_by_broker.unwrap()["broker-a"], mapping);
    assert_eq!(world.routes.route("U", false).unwrap().topic_queue_mapping_by_broker, None);
    world.register(registration(0, "a:1", &["T", "U"]));
    assert!(world.routes.route("T", false).unwrap().filter_server_table.is_empty());
}

#[test]
fn a_new_smallest_id_is_told_to_the_others() {
    let mut world = World::new();
    assert_eq!(world.notice(registration(2, "b:1", &[])), None, "the first has nobody to tell");
    assert_eq!(world.notice(registration(3, "d:1", &[])), None);
    let notice = world.notice(registration(1, "a:1", &[])).unwrap();
    assert_eq!(
        notice,
        Notice {
            addresses: vec!["b:1".to_owned(), "d:1".to_owned()],
            smallest_id: 1,
            smallest_address: "a:1".to_owned(),
            offline_address: None,
            ha_address: Some("ha-of-a:1".to_owned()),
        }
    );
    assert_eq!(world.notice(registration(1, "a:1", &[])), None, "it is the smallest already");
    // The only process of a group takes a smaller id: it is told itself.
    let mut world = World::new();
    world.register(registration(2, "b:1", &[]));
    let notice = world.notice(registration(1, "b:1", &[])).unwrap();
    assert_eq!(notice.addresses, ["b:1"]);
}

#[test]
fn a_lost_smallest_id_is_told_to_all_that_may_act() {
    let mut world = World::new();
    for (id, address) in [(0, "a:1"), (1, "b:1"), (2, "d:1")] {
        world.register(acting(registration(id, address, &[])));
    }
    assert_eq!(world.unregister(2, "d:1"), None, "it was not the smallest");
    let notice = world.unregister(0, "a:1").unwrap();
    assert_eq!(
        notice,
        Notice {
            addresses: vec!["b:1".to_owned()],
            smallest_id: 1,
            smallest_address: "b:1".to_owned(),
            offline_address: Some("a:1".to_owned()),
            ha_address: None,
        }
    );
    assert_eq!(world.unregister(1, "b:1"), None, "nobody is left");

    let mut world = World::new();
    world.register(registration(0, "a:1", &[]));
    world.register(registration(1, "b:1", &[]));
    assert_eq!(world.unregister(0, "a:1"), None, "nobody may act");
}
