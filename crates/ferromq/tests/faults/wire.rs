//! A client that speaks frames over one blocking socket, for tests in which the other side may vanish at any moment.
//!
//! Deliberately nothing of the product's client code: every wait is bounded, every failure is a value, and whatever a
//! request holds goes out as it is.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferromq_protocol::code::request;
use ferromq_protocol::encode;
use ferromq_protocol::frame::{Encoding, Split, split};
use ferromq_protocol::header::{Head, HeaderDecoder, OwnedFrame};
use ferromq_protocol::record::{self, Record};

use crate::common::PATIENCE;

pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    opaque: i32,
    read: Vec<u8>,
    decoder: HeaderDecoder,
}

impl Connection {
    pub(crate) fn to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, opaque: 0, read: Vec::new(), decoder: HeaderDecoder::new() })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request and returns its opaque number.
    pub(crate) fn post(&mut self, code: i32, fields: Fields<'_>, body: &[u8]) -> io::Result<i32> {
        self.opaque += 1;
        self.stream.write_all(&frame(code, self.opaque, fields, body))?;
        Ok(self.opaque)
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame, whatever it is; `None` if none comes in time.
    pub(crate) fn receive(&mut self, within: Duration) -> io::Result<Option<OwnedFrame>> {
        let deadline = Instant::now() + within;
        loop {
            let found = split(&self.read).map_err(io::Error::other)?;
            if let Split::Frame { frame, consumed } = found {
                let body = Bytes::copy_from_slice(frame.body);
                let owned = self.decoder.decode(frame).map_err(io::Error::other)?.to_owned(body);
                self.read.drain(..consumed);
                return Ok(Some(owned));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.read.extend_from_slice(&chunk[..read]),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next reply; requests of the broker are passed over.
    pub(crate) fn reply(&mut self) -> io::Result<OwnedFrame> {
        loop {
            let frame = self.receive(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
            if frame.head.is_response() {
                return Ok(frame);
            }
        }
    }

    /// One request and its reply, with nothing else under way.
    pub(crate) fn call(&mut self, code: i32, fields: Fields<'_>, body: &[u8]) -> io::Result<OwnedFrame> {
        let opaque = self.post(code, fields, body)?;
        loop {
            let reply = self.reply()?;
            if reply.opaque == opaque {
                return Ok(reply);
            }
        }
    }

    /// One message in the form of the Java client.
    pub(crate) fn send(
        &mut self,
        topic: &str,
        queue: i32,
        properties: &str,
        body: &[u8],
    ) -> io::Result<OwnedFrame> {
        let queue = queue.to_string();
        self.call(request::SEND_MESSAGE_V2, &send_fields(topic, &queue, properties, false), body)
    }

    /// One pull that brings its subscription along; it is held for `held_ms` if there is nothing.
    pub(crate) fn post_pull(&mut self, pull: &Pull<'_>) -> io::Result<i32> {
        let (queue, offset) = (pull.queue.to_string(), pull.offset.to_string());
        let held = pull.held.as_millis().to_string();
        let fields = [
            ("consumerGroup", pull.group),
            ("topic", pull.topic),
            ("queueId", &queue),
            ("queueOffset", &offset),
            ("maxMsgNums", "100000"),
            // With a subscription; with the right to be held.
            ("sysFlag", if pull.held.is_zero() { "4" } else { "6" }),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &held),
            ("subscription", pull.tags),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        self.post(request::PULL_MESSAGE, &fields, b"")
    }

    pub(crate) fn pull(&mut self, pull: &Pull<'_>) -> io::Result<OwnedFrame> {
        let opaque = self.post_pull(pull)?;
        loop {
            let reply = self.reply()?;
            if reply.opaque == opaque {
                return Ok(reply);
            }
        }
    }

    /// True if the other side closes in time; what it says before that is dropped.
    pub(crate) fn is_closed_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut chunk = [0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !is_timeout(&error),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What is pulled.
#[derive(Clone, Copy)]
pub(crate) struct Pull<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) tags: &'a str,
    pub(crate) held: Duration,
}

impl<'a> Pull<'a> {
    pub(crate) fn of(topic: &'a str, queue: i32, offset: i64) -> Self {
        Self { group: "readers", topic, queue, offset, tags: "*", held: Duration::ZERO }
    }
}

/// Bytes of a request.
pub(crate) fn frame(code: i32, opaque: i32, fields: Fields<'_>, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut header = encode::begin(&mut frame, Encoding::Json, Head::request(code, opaque), None);
    for (name, value) in fields {
        header.text(name, value);
    }
    header.finish_with(body).unwrap();
    frame
}

pub(crate) fn send_fields<'a>(
    topic: &'a str,
    queue: &'a str,
    properties: &'a str,
    batch: bool,
) -> [(&'a str, &'a str); 13] {
    [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", if batch { "true" } else { "false" }),
        ("n", "broker-a"),
    ]
}

/// One entry of the body of a batch.
pub(crate) fn push_batch_entry(out: &mut Vec<u8>, properties: &str, body: &[u8]) {
    let len = u32::try_from(22 + body.len() + properties.len()).unwrap();
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&u16::try_from(properties.len()).unwrap().to_be_bytes());
    out.extend_from_slice(properties.as_bytes());
}

/// The messages of a pull's body.
pub(crate) fn records(body: &[u8]) -> Vec<Record<'_>> {
    record::decode_all(body).map(Result::unwrap).collect()
}

/// An ext field as a number.
pub(crate) fn number(frame: &OwnedFrame, name: &str) -> i64 {
    let value = frame.field(name).unwrap_or_else(|| panic!("no field {name} in {frame:?}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}"))
}

/// The remark of a frame, or nothing.
pub(crate) fn remark(frame: &OwnedFrame) -> &str {
    frame.remark.as_deref().unwrap_or_default()
}
