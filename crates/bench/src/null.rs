//! `bench null`: the ceiling. A broker that keeps nothing but the last message and the next offset of
//! every queue, and answers at once.
//!
//! One task per connection reads what has come, answers all of it with one write, and takes one lock
//! per read. It says what a broker says, so that clients of the load generator cannot tell the
//! difference, but checks, stores and times out nothing: what remains is the cost of sockets,
//! scheduling and copying, which no broker on this machine gets around.

use std::sync::Arc;

use anyhow::Context;
use ferromq_protocol::frame::PREFIX_LEN;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::fsync::SyncFile;
use crate::options::{Null, Prepare};
use crate::wire::{self, Scanned};

const INPUT_LEN: usize = 256 * 1024;
const SYNC_FILE_LEN: u64 = 256 << 20;
const QUEUE_ID_MAX: i64 = 99_999;
/// What a pull gives at most, as a broker limits it.
const BATCH_MAX: i64 = 32;
const QUEUE_ID: &[u8] = br#""queueId":""#;
const SUSPEND_FLAG: i64 = 2;
/// Where the queue offset lies in a record, and where the body begins.
const RECORD_QUEUE_OFFSET: usize = 20;
const RECORD_BODY: usize = 88;

pub(crate) fn run(options: &Null) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::try_from(options.workers)?)
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&options.listen)
            .await
            .with_context(|| format!("{} cannot be listened on", options.listen))?;
        println!("null broker listening on {}", listener.local_addr()?);
        let sync_file = match &options.sync {
            Some(dir) => Some(SyncFile::create(dir, Prepare::ZeroFilled, SYNC_FILE_LEN)?),
            None => None,
        };
        accept_all(listener, sync_file).await
    })
}

pub(crate) async fn accept_all(listener: TcpListener, sync_file: Option<SyncFile>) -> anyhow::Result<()> {
    let broker = Arc::new(NullBroker::new(sync_file));
    loop {
        let (stream, _) = listener.accept().await.context("accepting a connection failed")?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, Arc::clone(&broker)));
    }
}

struct NullBroker {
    state: Mutex<State>,
    sync: Option<Mutex<SyncFile>>,
}

struct State {
    queues: Vec<Queue>,
    /// Holds that the sends of the read at hand have woken, each with the offset of its message.
    woken: Vec<(Hold, i64)>,
    /// The last message sent, as a stored record.
    last: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    next_offset: i64,
    holds: Vec<Hold>,
}

/// A pull that waits for a message.
struct Hold {
    peer: Arc<Peer>,
    opaque: i32,
}

/// Answers that other connections leave for this one.
#[derive(Default)]
struct Peer {
    outbox: Mutex<Vec<u8>>,
    wake: Notify,
}

async fn serve(mut stream: TcpStream, broker: Arc<NullBroker>) {
    let peer = Arc::new(Peer::default());
    let mut input = vec![0; INPUT_LEN];
    let mut filled = 0;
    let mut out = Vec::with_capacity(INPUT_LEN);
    loop {
        tokio::select! {
            read = stream.read(&mut input[filled..]) => match read {
                Ok(len) if len > 0 => {
                    if broker.sync(&input[filled..filled + len]).is_err() {
                        break;
                    }
                    filled += len;
                }
                _ => break,
            },
            () = peer.wake.notified() => {}
        }
        let Ok(taken) = broker.answer_all(&input[..filled], &peer, &mut out) else { break };
        input.copy_within(taken..filled, 0);
        filled -= taken;
        if filled == input.len() {
            input.resize(input.len() * 2, 0);
        }
        out.append(&mut peer.outbox.lock());
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            break;
        }
        out.clear();
    }
    broker.forget(&peer);
}

impl NullBroker {
    fn new(sync: Option<SyncFile>) -> NullBroker {
        let state = State { queues: Vec::new(), woken: Vec::new(), last: Vec::new() };
        NullBroker { state: Mutex::new(state), sync: sync.map(Mutex::new) }
    }

    /// With `--sync`: puts the bytes of one read on the disk. It blocks the worker, as the simplest
    /// broker would.
    fn sync(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match &self.sync {
            Some(file) => file.lock().append(bytes),
            None => Ok(()),
        }
    }

    /// Answers every complete request at the front of `input` and returns how many bytes they took.
    fn answer_all(&self, input: &[u8], peer: &Arc<Peer>, out: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut taken = 0;
        let mut last_body = None;
        let mut state = self.state.lock();
        while let Some((request, consumed)) = wire::take(&input[taken..])? {
            taken += consumed;
            match request.code {
                310 => {
                    state.send(&request, out);
                    last_body = Some(request.body);
                }
                11 => state.pull(&request, peer, out),
                17 | 34 | 35 => Answer::begin(out, 0).end(request.opaque),
                30 => {
                    let offset = state.queue(&request, QUEUE_ID).1.next_offset;
                    Answer::begin(out, 0).field("offset", offset).end(request.opaque);
                }
                31 => Answer::begin(out, 0).field("offset", 0).end(request.opaque),
                _ => Answer::begin(out, 3).end(request.opaque),
            }
        }
        if let Some(body) = last_body {
            state.keep(body);
            state.wake();
        }
        Ok(taken)
    }

    fn forget(&self, peer: &Arc<Peer>) {
        for queue in &mut self.state.lock().queues {
            queue.holds.retain(|hold| !Arc::ptr_eq(&hold.peer, peer));
        }
    }
}

impl State {
    /// The queue whose id is in field `name`.
    fn queue(&mut self, request: &Scanned<'_>, name: &[u8]) -> (i64, &mut Queue) {
        let id = wire::field(request.header, name).unwrap_or(0).clamp(0, QUEUE_ID_MAX);
        let index = usize::try_from(id).unwrap_or(0);
        if index >= self.queues.len() {
            self.queues.resize_with(index + 1, Queue::default);
        }
        (id, &mut self.queues[index])
    }

    fn send(&mut self, request: &Scanned<'_>, out: &mut Vec<u8>) {
        let (queue_id, queue) = self.queue(request, br#""e":""#);
        let offset = queue.next_offset;
        queue.next_offset += 1;
        let holds = std::mem::take(&mut queue.holds);
        self.woken.extend(holds.into_iter().map(|hold| (hold, offset)));
        Answer::begin(out, 0)
            .field("queueId", queue_id)
            .text_field("msgId", "7F00000100002A9F0000000000000000")
            .text_field("TRACE_ON", "true")
            .text_field("MSG_REGION", "DefaultRegion")
            .field("queueOffset", offset)
            .end(request.opaque);
    }

    fn pull(&mut self, request: &Scanned<'_>, peer: &Arc<Peer>, out: &mut Vec<u8>) {
        let number = |name: &[u8]| wire::field(request.header, name).unwrap_or(0);
        let offset = number(br#""queueOffset":""#);
        let wanted = number(br#""maxMsgNums":""#).clamp(1, BATCH_MAX);
        let may_hold = number(br#""sysFlag":""#) & SUSPEND_FLAG != 0;
        let (_, queue) = self.queue(request, QUEUE_ID);
        let max = queue.next_offset;
        let messages = wanted.min(max - offset).max(0);
        if messages == 0 && may_hold {
            queue.holds.push(Hold { peer: Arc::clone(peer), opaque: request.opaque });
        } else {
            self.write_messages(request.opaque, offset, messages, max, out);
        }
    }

    /// A pull answer with `messages` copies of the last one, as if they began at `offset`.
    fn write_messages(&self, opaque: i32, offset: i64, messages: i64, max: i64, out: &mut Vec<u8>) {
        let code = if messages > 0 { 0 } else { 19 };
        let mut answer = Answer::begin(out, code);
        answer
            .field("suggestWhichBrokerId", 0)
            .field("nextBeginOffset", offset + messages)
            .field("minOffset", 0)
            .field("maxOffset", max);
        answer.end_with_body(opaque, |body| {
            for message in 0..messages {
                let start = body.len();
                body.extend_from_slice(&self.last);
                let queue_offset = &mut body[start + RECORD_QUEUE_OFFSET..start + RECORD_QUEUE_OFFSET + 8];
                queue_offset.copy_from_slice(&(offset + message).to_be_bytes());
            }
        });
    }

    /// Keeps a message as the record that pulls will get: the layout of a stored message with IPv4
    /// hosts, topic `bench`, no properties.
    fn keep(&mut self, body: &[u8]) {
        const AFTER_BODY: &[u8] = b"\x05bench\0\0";
        let len = RECORD_BODY + body.len() + AFTER_BODY.len();
        let record = &mut self.last;
        record.clear();
        record.resize(RECORD_BODY, 0);
        record[0..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        record[4..8].copy_from_slice(&wire::MAGIC_V1.to_be_bytes());
        record[84..88].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        record.extend_from_slice(body);
        record.extend_from_slice(AFTER_BODY);
    }

    /// Answers the holds that the sends of this read have woken.
    fn wake(&mut self) {
        while let Some((hold, offset)) = self.woken.pop() {
            self.write_messages(hold.opaque, offset, 1, offset + 1, &mut hold.peer.outbox.lock());
            hold.peer.wake.notify_one();
        }
    }
}

/// A response under construction, in the form and order of the Java broker.
struct Answer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    separator: &'static [u8],
}

impl<'a> Answer<'a> {
    fn begin(out: &'a mut Vec<u8>, code: i32) -> Answer<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_LEN]);
        out.extend_from_slice(br#"{"code":"#);
        out.extend_from_slice(itoa::Buffer::new().format(code).as_bytes());
        out.extend_from_slice(br#","extFields":{"#);
        Answer { out, start, separator: b"\"" }
    }

    fn text_field(&mut self, name: &str, value: &str) -> &mut Answer<'a> {
        for part in [self.separator, name.as_bytes(), b"\":\"", value.as_bytes(), b"\""] {
            self.out.extend_from_slice(part);
        }
        self.separator = b",\"";
        self
    }

    fn field(&mut self, name: &str, value: i64) -> &mut Answer<'a> {
        self.text_field(name, itoa::Buffer::new().format(value))
    }

    fn end(&mut self, opaque: i32) {
        self.end_with_body(opaque, |_| {});
    }

    fn end_with_body(&mut self, opaque: i32, body: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(br#"},"flag":1,"language":"JAVA","opaque":"#);
        self.out.extend_from_slice(itoa::Buffer::new().format(opaque).as_bytes());
        self.out.extend_from_slice(br#","serializeTypeCurrentRPC":"JSON","version":513}"#);
        let header_end = self.out.len();
        body(self.out);
        wire::patch_lengths(self.out, self.start, header_end);
    }
}
