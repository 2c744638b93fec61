//! What a broker tells name servers about its topics: body of REGISTER_BROKER (103), as JSON or compressed.
//!
//! The compressed form is one zlib stream over, with four-byte lengths and counts:
//!
//! | field |
//! |---|
//! | length, data version as JSON |
//! | number of topics; for each: length, `name readQueues writeQueues perm filterType attributesJson` |
//! | length, list of filter servers as JSON |
//! | from brokers of 5.0.0 on: number of mappings; for each: length, mapping as JSON |
//!
//! Brokers always say `compressed=false`, so the form is told by the first byte.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{TopicConfig, TopicConfigAndMappingTable, TopicFilterType};
use crate::json::{self, Value};

/// Longest uncompressed registration that is read; 100,000 topics take about 10 MiB.
pub const INFLATED_LEN_MAX: u64 = 64 * 1024 * 1024;
/// What a compressed registration may grow to: more than a list of similar topics does, far less than zlib can.
const INFLATION_MAX: u64 = 100;
const INFLATED_LEN_MIN: u64 = 1024 * 1024;

const COMPRESSION_LEVEL: u32 = 9;

/// Body of a registration (`RegisterBrokerBody`).
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// Obsolete; always empty.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigAndMappingTable,
}

/// The body of a registration cannot be read.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// JSON that is broken or of another shape.
    #[error(transparent)]
    Json(#[from] json::Error),
    /// A stream that is broken, cut short, or grows beyond measure or [`INFLATED_LEN_MAX`].
    #[error("compressed registration: {0}")]
    Stream(#[from] std::io::Error),
    /// A topic's text has too few fields or a number that is none.
    #[error("compressed registration: topic {0:?}")]
    Topic(String),
}

impl RegisterBrokerBody {
    /// Reads either form; an empty body is a registration without topics.
    ///
    /// # Errors
    /// If the body cannot be read.
    pub fn decode(body: &[u8]) -> Result<Self, RegisterError> {
        match body.first() {
            None => Ok(Self::default()),
            Some(0x78) => {
                let limit = (body.len() as u64).saturating_mul(INFLATION_MAX);
                let limit = limit.clamp(INFLATED_LEN_MIN, INFLATED_LEN_MAX);
                Inflated { stream: ZlibDecoder::new(body).take(limit) }.body()
            }
            Some(_) => Ok(json::from_slice(body)?),
        }
    }

    /// The body as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    /// The body in compressed form, which carries neither system flag nor order of a topic.
    #[must_use]
    pub fn to_compressed(&self) -> Vec<u8> {
        let table = &self.topic_config_serialize_wrapper;
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(COMPRESSION_LEVEL));
        let mut written = write_text(&mut encoder, &json::to_vec(&table.data_version))
            .and_then(|()| write_count(&mut encoder, table.topic_config_table.len()));
        for (name, topic) in &table.topic_config_table {
            let filter = topic.topic_filter_type.name();
            let (reads, writes, perm) = (topic.read_queue_nums, topic.write_queue_nums, topic.perm);
            let mut text = format!("{name} {reads} {writes} {perm} {filter} ").into_bytes();
            json::write(&mut text, &topic.attributes, json::Form::Wire);
            written = written.and_then(|()| write_text(&mut encoder, &text));
        }
        written = written
            .and_then(|()| write_text(&mut encoder, &json::to_vec(&self.filter_server_list)))
            .and_then(|()| write_count(&mut encoder, table.topic_queue_mapping_info_map.len()));
        for mapping in table.topic_queue_mapping_info_map.values() {
            written = written.and_then(|()| write_text(&mut encoder, &json::to_vec(mapping)));
        }
        written.and_then(|()| encoder.finish()).expect("invariant: writing into memory does not fail")
    }
}

fn write_count(encoder: &mut impl Write, count: usize) -> std::io::Result<()> {
    let count = u32::try_from(count).map_err(std::io::Error::other)?;
    encoder.write_all(&count.to_be_bytes())
}

fn write_text(encoder: &mut impl Write, text: &[u8]) -> std::io::Result<()> {
    write_count(encoder, text.len())?;
    encoder.write_all(text)
}

struct Inflated<R> {
    stream: R,
}

impl<R: Read> Inflated<R> {
    fn body(mut self) -> Result<RegisterBrokerBody, RegisterError> {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version = json::from_slice(&self.text()?)?;
        for _ in 0..self.count()? {
            let topic = topic(&self.text()?)?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = json::from_slice(&self.text()?)?;
        // Brokers before 5.0.0 end here.
        for _ in 0..self.count_if_any()?.unwrap_or(0) {
            let mapping: Value = json::from_slice(&self.text()?)?;
            if let Some(topic) = mapping.get("topic").and_then(Value::as_str) {
                table.topic_queue_mapping_info_map.insert(topic.to_owned(), mapping);
            }
        }
        // To the end, where the stream's checksum is; what later brokers may append is not ours.
        std::io::copy(&mut self.stream, &mut std::io::sink())?;
        Ok(body)
    }

    fn count(&mut self) -> std::io::Result<u32> {
        let mut count = [0; 4];
        self.stream.read_exact(&mut count)?;
        Ok(u32::from_be_bytes(count))
    }

    fn count_if_any(&mut self) -> std::io::Result<Option<u32>> {
        let mut count = Vec::new();
        match (&mut self.stream).take(4).read_to_end(&mut count)? {
            0 => Ok(None),
            _ => match <[u8; 4]>::try_from(count) {
                Ok(count) => Ok(Some(u32::from_be_bytes(count))),
                Err(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// A text with its length before it. Memory follows what is really there, not what the length claims.
    fn text(&mut self) -> std::io::Result<Vec<u8>> {
        let len = self.count()?;
        let mut text = Vec::new();
        let read = (&mut self.stream).take(u64::from(len)).read_to_end(&mut text)?;
        if read < len as usize {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(text)
    }
}

/// Reads `name readQueues writeQueues perm filterType [attributesJson]`.
fn topic(text: &[u8]) -> Result<TopicConfig, RegisterError> {
    let text = String::from_utf8_lossy(text);
    let broken = || RegisterError::Topic(text.clone().into_owned());
    let mut words = text.split(' ');
    let name = words.next().filter(|name| !name.is_empty()).ok_or_else(broken)?;
    let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or_else(broken);
    let mut topic = TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: number()?,
        write_queue_nums: number()?,
        perm: number()?,
        ..TopicConfig::default()
    };
    topic.topic_filter_type = words.next().and_then(TopicFilterType::from_name).ok_or_else(broken)?;
    // Attributes with spaces are lost by Java's reader; ours takes the rest of the text.
    let attributes = words.collect::<Vec<_>>().join(" ");
    if !attributes.is_empty() {
        topic.attributes = json::from_slice(attributes.as_bytes()).unwrap_or_default();
    }
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(parts: &[&[u8]]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(COMPRESSION_LEVEL));
        for part in parts {
            encoder.write_all(part).unwrap();
        }
        encoder.finish().unwrap()
    }

    const VERSION: &[u8] = b"{\"counter\":3,\"stateVersion\":0,\"timestamp\":1700}";

    #[test]
    fn registration_of_an_old_broker_is_read() {
        let topics = b"\0\0\0\x02\0\0\0\x17TopicA 4 8 6 SINGLE_TAG\0\0\0\x2aTopicB 1 1 4 MULTI_TAG {\"a\":\"x y\",\"b\":\"c\"}";
        let version = [&u32::try_from(VERSION.len()).unwrap().to_be_bytes()[..], VERSION].concat();
        let body = RegisterBrokerBody::decode(&compressed(&[&version, topics, b"\0\0\0\x02[]"])).unwrap();
        let table = &body.topic_config_serialize_wrapper;
        assert_eq!(table.data_version.counter, 3);
        let topic = &table.topic_config_table["TopicA"];
        assert_eq!((topic.read_queue_nums, topic.write_queue_nums, topic.perm), (4, 8, 6));
        let topic = &table.topic_config_table["TopicB"];
        assert_eq!(topic.topic_filter_type, TopicFilterType::MultiTag);
        assert_eq!(topic.attributes["a"], "x y");
    }

    #[test]
    fn an_empty_body_registers_nothing() {
        assert_eq!(RegisterBrokerBody::decode(b"").unwrap(), RegisterBrokerBody::default());
    }

    #[test]
    fn rejects_broken_topics_and_streams() {
        for topic in [&b"TopicA"[..], b"TopicA x 1 6 SINGLE_TAG", b" 1 1 6 SINGLE_TAG", b"TopicA 1 1 6 TAG"] {
            let len = u32::try_from(topic.len()).unwrap().to_be_bytes();
            let body = compressed(&[b"\0\0\0\x02{}\0\0\0\x01", &len, topic, b"\0\0\0\x02[]"]);
            assert!(matches!(RegisterBrokerBody::decode(&body), Err(RegisterError::Topic(_))), "{topic:?}");
        }
        assert!(matches!(RegisterBrokerBody::decode(b"xyz"), Err(RegisterError::Stream(_))));
        assert!(matches!(RegisterBrokerBody::decode(b"{"), Err(RegisterError::Json(_))));
        // A claim of four billion topics ends with the stream.
        let body = compressed(&[b"\0\0\0\x02{}\xff\xff\xff\xff"]);
        assert!(matches!(RegisterBrokerBody::decode(&body), Err(RegisterError::Stream(_))));
    }

    #[test]
    fn a_stream_that_grows_beyond_measure_is_refused() {
        let topic = b"\0\0\0\x17TopicA 4 8 6 SINGLE_TAG";
        let topics = topic.repeat(400_000);
        let body = compressed(&[b"\0\0\0\x02{}\0\x06\x1a\x80", &topics, b"\0\0\0\x02[]"]);
        assert!(body.len() < 100_000);
        assert!(matches!(RegisterBrokerBody::decode(&body), Err(RegisterError::Stream(_))));
    }
}
