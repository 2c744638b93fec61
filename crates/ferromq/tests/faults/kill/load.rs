//! The clients of one round: each has a connection, works until the broker is gone, and then tells what it knows.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use ferromq_protocol::code::{request, response};
use ferromq_protocol::header::OwnedFrame;

use super::plan::Plan;
use crate::ledger::{
    Committed, Id, Known, Ledger, Life, Sent, Topic, TopicState, body_of, committed_offset, create_group,
    create_topic, delete_topic, id_of, key_of,
};
use crate::random::Random;
use crate::wire::{Connection, Pull, number, push_batch_entry, records, remark, send_fields};

/// What the clients of a round share.
pub(crate) struct Shared<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) round: usize,
    pub(crate) address: SocketAddr,
    pub(crate) acks: AtomicU64,
    /// Set before the broker is killed or stopped: whoever loses his connection earlier found a fault.
    pub(crate) is_over: AtomicBool,
    /// The present life of each churned topic.
    lives: Vec<AtomicU64>,
}

/// What a client has to tell.
#[derive(Default)]
struct Told {
    sent: Vec<Sent>,
    known: Vec<Known>,
    refused: Vec<Id>,
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<String, Option<bool>>,
    offsets: BTreeMap<(String, String, i32), Committed>,
}

/// Name of a topic that stays.
pub(crate) fn lasting(number: usize) -> String {
    format!("lasting-{number}")
}

fn churned(number: u64) -> String {
    format!("churned-{number}")
}

/// Name of the group of a consumer.
pub(crate) fn group(consumer: u64) -> String {
    format!("group-{consumer}")
}

impl<'a> Shared<'a> {
    pub(crate) fn new(plan: &'a Plan, round: usize, address: SocketAddr, ledger: &Ledger) -> Self {
        let life = |number| AtomicU64::new(ledger.topics.get(&churned(number)).map_or(0, |topic| topic.life));
        Self {
            plan,
            round,
            address,
            acks: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            lives: (0..plan.churned).map(life).collect(),
        }
    }

    /// Runs all clients; `end` ends the broker once it has seen enough. The ledger then has what the clients know.
    pub(crate) fn run(&self, ledger: &mut Ledger, end: impl FnOnce()) {
        let told = thread::scope(|scope| {
            let ledger = &*ledger;
            let mut clients = Vec::new();
            for number in 0..self.plan.producers {
                clients.push(scope.spawn(move || self.client(number, |client| client.produce(number))));
            }
            for number in 0..self.plan.consumers {
                let id = 64 + number;
                clients.push(scope.spawn(move || self.client(id, |client| client.consume(number, ledger))));
            }
            for number in 0..self.plan.churned {
                let id = 128 + number;
                clients.push(scope.spawn(move || self.client(id, |client| client.churn(number, ledger))));
            }
            end();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<Told>>()
        });
        for told in told {
            ledger.sent.extend(told.sent.into_iter().map(|sent| (sent.id, sent)));
            ledger.known.extend(told.known);
            ledger.refused.extend(told.refused);
            ledger.topics.extend(told.topics);
            ledger.groups.extend(told.groups);
            ledger.offsets.extend(told.offsets);
        }
    }

    fn client(&self, number: u64, work: impl FnOnce(&mut Client<'_, '_>) -> io::Result<()>) -> Told {
        let connection = Connection::to(self.address).unwrap();
        let random = self.plan.stream(self.round, number);
        let first_id = (self.round as u64) << 48 | number << 32;
        let mut client =
            Client { shared: self, connection, random, next_id: first_id, told: Told::default() };
        let ended = work(&mut client);
        let over = self.is_over.load(SeqCst);
        assert!(over, "client {number} lost the broker before it was killed: {ended:?}");
        client.told
    }
}

struct Client<'s, 'p> {
    shared: &'s Shared<'p>,
    connection: Connection,
    random: Random,
    next_id: Id,
    told: Told,
}

/// Messages of one request that is under way.
struct UnderWay {
    topic: String,
    queue: i32,
    churned: Option<u64>,
    ids: Vec<Id>,
}

impl Client<'_, '_> {
    /// Sends until the end, with some requests under way at a time.
    fn produce(&mut self, number: u64) -> io::Result<()> {
        let window = self.random.within(1, 32) as usize;
        let mut under_way = HashMap::new();
        loop {
            while under_way.len() < window {
                // One connection sends into the topics that come and go, without knowing where they are.
                let is_bystander = number == 0 && self.random.one_in(2);
                let (opaque, request) = self.post(is_bystander)?;
                under_way.insert(opaque, request);
            }
            let reply = self.connection.reply()?;
            let request = under_way.remove(&reply.opaque).expect("a reply to a request of ours");
            self.note(&request, &reply);
        }
    }

    fn post(&mut self, is_bystander: bool) -> io::Result<(i32, UnderWay)> {
        let (topic, queue, churned_number) = if is_bystander {
            let number = self.random.below(self.shared.plan.churned);
            (churned(number), 0, Some(number))
        } else {
            let topic = usize::try_from(self.random.below(self.shared.plan.topics.len() as u64)).unwrap();
            let queues = u64::try_from(self.shared.plan.topics[topic]).unwrap();
            (lasting(topic), i32::try_from(self.random.below(queues)).unwrap(), None)
        };
        let life = churned_number.map_or(0, |number| self.life(number));
        let queue_text = queue.to_string();
        let count = if self.random.one_in(10) { self.random.within(2, 20) } else { 1 };
        let ids: Vec<Id> = (0..count).map(|_| self.sent(&topic, queue, life)).collect();
        let opaque = if let [id] = ids[..] {
            let len = self.body_len();
            let properties = properties(id);
            let fields = send_fields(&topic, &queue_text, &properties, false);
            self.connection.post(request::SEND_MESSAGE_V2, &fields, &body_of(id, len))?
        } else {
            let mut body = Vec::new();
            for id in &ids {
                let len = usize::try_from(self.random.within(16, 2000)).unwrap();
                push_batch_entry(&mut body, &properties(*id), &body_of(*id, len));
            }
            let fields = send_fields(&topic, &queue_text, "", true);
            self.connection.post(request::SEND_BATCH_MESSAGE, &fields, &body)?
        };
        Ok((opaque, UnderWay { topic, queue, churned: churned_number, ids }))
    }

    fn body_len(&mut self) -> usize {
        let len = match self.random.below(100) {
            0..80 => self.random.within(16, 2000),
            80..98 => self.random.within(2000, 20_000),
            _ => self.random.within(20_000, 200_000),
        };
        usize::try_from(len).unwrap()
    }

    /// Notes that a message is about to be sent.
    fn sent(&mut self, topic: &str, queue: i32, life: Life) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.told.sent.push(Sent { id, topic: topic.to_owned(), queue, life });
        id
    }

    fn life(&self, number: u64) -> Life {
        self.shared.lives[usize::try_from(number).unwrap()].load(SeqCst)
    }

    /// Notes what an answer says.
    fn note(&mut self, request: &UnderWay, reply: &OwnedFrame) {
        let life = request.churned.map_or(0, |number| self.life(number));
        match reply.code {
            response::SUCCESS => {
                self.shared.acks.fetch_add(1, SeqCst);
                let first = number(reply, "queueOffset");
                let ids = reply.field("msgId").unwrap().split(',').map(physical_of);
                for ((at, id), physical) in (first..).zip(&request.ids).zip(ids) {
                    self.told.known.push(Known {
                        id: *id,
                        topic: request.topic.clone(),
                        queue: request.queue,
                        offset: at,
                        physical: Some(physical),
                        life,
                    });
                }
            }
            // The disk was slower than five seconds; the messages may be there or not.
            response::FLUSH_DISK_TIMEOUT if self.shared.plan.flush == "SYNC_FLUSH" => {}
            // The machine was too slow; the messages are not there.
            response::SYSTEM_BUSY => self.told.refused.extend(&request.ids),
            // The topic went meanwhile, or is not there at present.
            response::TOPIC_NOT_EXIST | response::SYSTEM_ERROR if request.churned.is_some() => {}
            _ => self.must_be_over(reply),
        }
    }

    /// Only a broker that is being stopped may answer so.
    fn must_be_over(&self, reply: &OwnedFrame) {
        assert!(self.shared.is_over.load(SeqCst), "answered {} {}", reply.code, remark(reply));
    }

    /// A change that an administrator asked for.
    fn must_succeed(&self, reply: &OwnedFrame) -> io::Result<()> {
        if reply.code == response::SUCCESS {
            return Ok(());
        }
        self.must_be_over(reply);
        Err(io::ErrorKind::Other.into())
    }

    /// Reads the topics that stay, queue by queue, and commits how far it has come.
    fn consume(&mut self, number: u64, ledger: &Ledger) -> io::Result<()> {
        let group = group(number);
        let topics = &self.shared.plan.topics;
        let queues =
            topics.iter().enumerate().flat_map(|(topic, queues)| (0..*queues).map(move |q| (topic, q)));
        let mut progress = BTreeMap::new();
        for (topic, queue) in queues {
            let key = (group.clone(), lasting(topic), queue);
            let mut committed = ledger.offsets.get(&key).copied().unwrap_or_default();
            let position = committed_offset(&mut self.connection, &group, &key.1, queue)?;
            committed.acknowledged = position;
            progress.insert(key, committed);
        }
        let keys: Vec<_> = progress.keys().cloned().collect();
        self.told.offsets = progress;
        loop {
            let key = self.random.one_of(&keys).clone();
            let position = self.told.offsets[&key].acknowledged;
            let reply = self.connection.pull(&Pull { group: &group, ..Pull::of(&key.1, key.2, position) })?;
            if reply.code != response::SUCCESS {
                if reply.code != response::PULL_NOT_FOUND {
                    self.must_be_over(&reply);
                }
                continue;
            }
            let mut next = position;
            for record in records(&reply.body) {
                assert_eq!(record.queue_offset.0, next, "{key:?}: a gap");
                let id = id_of(record.body).unwrap_or_else(|| panic!("{key:?} at {next}: not as sent"));
                let physical = Some(record.physical.0);
                let (topic, queue) = (key.1.clone(), key.2);
                self.told.known.push(Known { id, topic, queue, offset: next, physical, life: 0 });
                next += 1;
            }
            self.told.offsets.get_mut(&key).unwrap().sent = next;
            let fields = [
                ("consumerGroup", group.as_str()),
                ("topic", &key.1),
                ("queueId", &key.2.to_string()),
                ("commitOffset", &next.to_string()),
            ];
            let reply = self.connection.call(request::UPDATE_CONSUMER_OFFSET, &fields, b"")?;
            self.must_succeed(&reply)?;
            self.told.offsets.get_mut(&key).unwrap().acknowledged = next;
        }
    }

    /// Creates a topic, sends into it, deletes it, over and over; the same with a group.
    fn churn(&mut self, number: u64, ledger: &Ledger) -> io::Result<()> {
        let name = churned(number);
        let mut topic =
            ledger.topics.get(&name).copied().unwrap_or(Topic { state: TopicState::Absent, life: 0 });
        for cycle in 0.. {
            if let TopicState::Present { queues } = topic.state {
                for _ in 0..self.random.below(20) {
                    let queue = i32::try_from(self.random.below(u64::try_from(queues).unwrap())).unwrap();
                    let id = self.sent(&name, queue, topic.life);
                    let len = self.body_len();
                    let reply = self.connection.send(&name, queue, &properties(id), &body_of(id, len))?;
                    let request =
                        UnderWay { topic: name.clone(), queue, churned: Some(number), ids: vec![id] };
                    // Nobody else deletes it.
                    if ![response::FLUSH_DISK_TIMEOUT, response::SYSTEM_BUSY].contains(&reply.code) {
                        self.must_succeed(&reply)?;
                    }
                    self.note(&request, &reply);
                }
                topic.state = TopicState::Deleting;
                self.told.topics.insert(name.clone(), topic);
                let reply = delete_topic(&mut self.connection, &name)?;
                self.must_succeed(&reply)?;
                topic.state = TopicState::Absent;
                self.told.topics.insert(name.clone(), topic);
            }
            let queues = i32::try_from(self.random.within(1, 3)).unwrap();
            topic = Topic { state: TopicState::Creating, life: topic.life + 1 };
            self.shared.lives[usize::try_from(number).unwrap()].store(topic.life, SeqCst);
            self.told.topics.insert(name.clone(), topic);
            let reply = create_topic(&mut self.connection, &name, queues)?;
            self.must_succeed(&reply)?;
            topic.state = TopicState::Present { queues };
            self.told.topics.insert(name.clone(), topic);
            self.churn_group(number, cycle)?;
        }
        Ok(())
    }

    fn churn_group(&mut self, number: u64, cycle: u64) -> io::Result<()> {
        let name = |cycle| format!("churned-{number}-{}-{cycle}", self.shared.round);
        let (group, before) = (name(cycle), cycle.checked_sub(2).map(name));
        self.told.groups.insert(group.clone(), None);
        let reply = create_group(&mut self.connection, &group)?;
        self.must_succeed(&reply)?;
        self.told.groups.insert(group, Some(true));
        if let Some(before) = before {
            self.told.groups.insert(before.clone(), None);
            let fields = [("groupName", before.as_str()), ("cleanOffset", "true")];
            let reply = self.connection.call(request::DELETE_SUBSCRIPTIONGROUP, &fields, b"")?;
            self.must_succeed(&reply)?;
            self.told.groups.insert(before, Some(false));
        }
        Ok(())
    }
}

fn properties(id: Id) -> String {
    format!("KEYS\u{1}{}\u{2}WAIT\u{1}true\u{2}", key_of(id))
}

/// The position that a message id names: its last eight bytes.
fn physical_of(message_id: &str) -> i64 {
    i64::from_str_radix(&message_id[message_id.len() - 16..], 16).unwrap()
}
