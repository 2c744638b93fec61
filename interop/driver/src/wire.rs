//! The least of the remoting protocol that a driver needs: one request with a JSON header, one answer.
//!
//! It is written apart from the `protocol` crate on purpose, so that a mistake there cannot hide here.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// What came back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: i64,
    pub remark: Option<String>,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A connection on which requests are answered one after the other.
pub struct Connection {
    stream: TcpStream,
    opaque: i64,
}

impl Connection {
    pub fn open(address: &str, timeout: Duration) -> Result<Self> {
        let parsed: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
        let stream =
            TcpStream::connect_timeout(&parsed, timeout).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, opaque: 0 })
    }

    /// The port at our end.
    pub fn local_port(&self) -> Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    /// Sends a request with the header fields of a client of version 5.5.0 and waits for its answer.
    pub fn call(&mut self, code: i64, ext: &BTreeMap<String, String>, body: &[u8]) -> Result<Answer> {
        let opaque = self.send(code, 0, ext, body)?;
        loop {
            let (header, body) = self.receive()?;
            // Requests that the server sends (for example "your group has changed") are not what we wait for.
            if header["opaque"] == json!(opaque) && header["flag"].as_i64().is_some_and(|flag| flag & 1 == 1)
            {
                return answer(&header, body);
            }
        }
    }

    /// Sends without waiting; `flag` 2 marks a request that is not answered.
    pub fn send(&mut self, code: i64, flag: i64, ext: &BTreeMap<String, String>, body: &[u8]) -> Result<i64> {
        self.opaque += 1;
        let header = json!({
            "code": code, "language": "JAVA", "version": 513, "opaque": self.opaque, "flag": flag,
            "serializeTypeCurrentRPC": "JSON", "extFields": ext,
        });
        let header = serde_json::to_vec(&header)?;
        let mut frame = Vec::with_capacity(8 + header.len() + body.len());
        frame.extend_from_slice(&u32::try_from(4 + header.len() + body.len())?.to_be_bytes());
        frame.extend_from_slice(&u32::try_from(header.len())?.to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(body);
        self.stream.write_all(&frame)?;
        Ok(self.opaque)
    }

    fn receive(&mut self) -> Result<(Value, Vec<u8>)> {
        let mut lengths = [0; 8];
        self.stream.read_exact(&mut lengths)?;
        let [a, b, c, d, encoding, f, g, h] = lengths;
        let total = u32::from_be_bytes([a, b, c, d]) as usize;
        let header = u32::from_be_bytes([0, f, g, h]) as usize;
        ensure!(encoding == 0, "an answer in encoding {encoding}");
        ensure!(
            total >= 4 + header && total < 64 << 20,
            "an answer of {total} bytes with a header of {header}"
        );
        let mut rest = vec![0; total - 4];
        self.stream.read_exact(&mut rest)?;
        let body = rest.split_off(header);
        Ok((serde_json::from_slice(&rest).context("header of an answer")?, body))
    }
}

fn answer(header: &Value, body: Vec<u8>) -> Result<Answer> {
    let mut ext = BTreeMap::new();
    if let Some(fields) = header["extFields"].as_object() {
        for (name, value) in fields {
            ext.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    let code = header["code"].as_i64().context("an answer without code")?;
    Ok(Answer { code, remark: header["remark"].as_str().map(str::to_owned), ext, body })
}

/// Makes header fields of pairs.
pub fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// One request on a connection of its own.
pub fn call(address: &str, code: i64, ext: &BTreeMap<String, String>, body: &[u8]) -> Result<Answer> {
    Connection::open(address, Duration::from_secs(10))?.call(code, ext, body)
}

/// What creates or changes a topic (request 17).
pub fn topic_fields(topic: &str, read_queues: &str, write_queues: &str) -> BTreeMap<String, String> {
    fields([
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", read_queues),
        ("writeQueueNums", write_queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ])
}

/// Creates or changes a topic on one broker.
pub fn put_topic(broker: &str, topic: &str, read_queues: u32, write_queues: u32) -> Result<()> {
    let answer =
        call(broker, 17, &topic_fields(topic, &read_queues.to_string(), &write_queues.to_string()), &[])?;
    if answer.code != 0 {
        bail!("topic {topic} at {broker}: {} {:?}", answer.code, answer.remark);
    }
    Ok(())
}
