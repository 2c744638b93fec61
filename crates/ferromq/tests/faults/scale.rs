//! Very many topics: created through the wire, filled, killed, started again. The long form has the numbers that are
//! promised and holds the times; the short one only that it works.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ferromq_protocol::code::{request, response};

use crate::common::{Server, is_soak};
use crate::process::resident_kib;
use crate::wire::{Connection, number, remark, send_fields};

/// Requests under way at a time.
const WINDOW: usize = 256;
const QUEUES: i32 = 8;

/// Keeps a window of requests under way; every answer must say success.
fn run(connection: &mut Connection, count: usize, mut post: impl FnMut(&mut Connection, usize)) {
    let (mut posted, mut answered) = (0, 0);
    while answered < count {
        while posted < count && posted - answered < WINDOW {
            post(connection, posted);
            posted += 1;
        }
        let reply = connection.reply().unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{}", remark(&reply));
        answered += 1;
    }
}

fn create_topics(connection: &mut Connection, count: usize) {
    let queues = QUEUES.to_string();
    run(connection, count, |connection, number| {
        let topic = name(number);
        let fields =
            [("topic", &*topic), ("readQueueNums", &queues), ("writeQueueNums", &*queues), ("perm", "6")];
        connection.post(request::UPDATE_AND_CREATE_TOPIC, &fields, b"").unwrap();
    });
}

fn name(number: usize) -> String {
    format!("topic-{number}")
}

#[test]
fn a_hundred_thousand_queues_start_again_after_a_kill() {
    let topics = if is_soak() { 12_500 } else { 300 };
    let queues = topics * usize::try_from(QUEUES).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::up(directory.path(), &[]);
    let mut connection = Connection::to(server.address("broker", "local")).unwrap();

    let began = Instant::now();
    create_topics(&mut connection, topics);
    let created = began.elapsed();
    if is_soak() {
        assert!(created < Duration::from_secs(20) * 12_500 / 10_000, "{topics} topics took {created:?}");
    }
    let began = Instant::now();
    for _ in 0..2 {
        run(&mut connection, queues, |connection, number| {
            let (topic, queue) = (name(number % topics), (number / topics).to_string());
            let fields = send_fields(&topic, &queue, "TAGS\u{1}A\u{2}", false);
            connection.post(request::SEND_MESSAGE_V2, &fields, &[b'x'; 100]).unwrap();
        });
    }
    let sent = began.elapsed();
    let resident = resident_kib(server.pid());
    server.kill();

    let began = Instant::now();
    let server = Server::up(directory.path(), &[]);
    let ready = began.elapsed();
    println!(
        "{topics} topics created in {created:?}; two messages in each of {queues} queues in {sent:?}, then {resident} \
         KiB; ready {ready:?} after the kill, with {} KiB",
        resident_kib(server.pid())
    );
    if is_soak() {
        assert!(ready < Duration::from_secs(5), "ready after {ready:?}");
    }
    let mut connection = Connection::to(server.address("broker", "local")).unwrap();
    let mut wrong = HashSet::new();
    for number_of in 0..queues {
        let (topic, queue) = (name(number_of % topics), (number_of / topics).to_string());
        let fields = [("topic", topic.as_str()), ("queueId", &queue)];
        let reply = connection.call(request::GET_MAX_OFFSET, &fields, b"").unwrap();
        if number(&reply, "offset") != 2 {
            wrong.insert((topic, queue));
        }
    }
    assert!(wrong.is_empty(), "{} queues, for example {:?}", wrong.len(), wrong.iter().next());
    server.stop();
}
