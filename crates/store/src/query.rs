//! Records by key: the index names candidates by hash, the records themselves decide.

use ferromq_protocol::properties::{Properties, name};
use ferromq_protocol::record;
use ferromq_protocol::types::{PhysicalOffset, TimestampMs};
use thiserror::Error;

use crate::dispatch::TopicHash;
use crate::engine::Engine;
use crate::index::{IndexError, IndexQuery};
use crate::queue::Wait;
use crate::read::ReadError;

/// Which of a message's keys is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The unique key or one of the user's.
    Key,
    /// The tag. Stores written by RocketMQ before 5.4 have no such entries.
    Tag,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// Topic the records are stored under.
    pub topic: &'a str,
    /// The key.
    pub key: &'a str,
    /// What kind of key.
    pub kind: KeyKind,
    /// Most records to return, the newest ones.
    pub max: usize,
    /// First store time of interest.
    pub begin: TimestampMs,
    /// Last store time of interest.
    pub end: TimestampMs,
}

/// What was found, besides the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyHits {
    /// Records appended.
    pub records: usize,
    /// Store time of the last message in the index.
    pub last_time: TimestampMs,
    /// Position of the last message in the index.
    pub last_physical: PhysicalOffset,
}

/// A query that cannot be answered.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A record cannot be read, other than for being removed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// When none of the candidates can be read, older ones are tried so many times in all.
const ROUNDS: usize = 3;

impl Engine {
    /// See [`crate::Store::query`].
    pub(crate) fn query(&self, query: &KeyQuery<'_>, out: &mut Vec<u8>) -> Result<KeyHits, QueryError> {
        let Some(index) = &self.index else { return Ok(KeyHits::default()) };
        let index = index.load();
        let topic = TopicHash::new(query.topic);
        let hash = match query.kind {
            KeyKind::Key => topic.key(query.key),
            KeyKind::Tag => topic.tag(query.key),
        };
        let mut found = KeyHits::default();
        let mut end = query.end;
        for _ in 0..ROUNDS {
            let hits = index.query(&IndexQuery { hash, max: query.max, begin: query.begin, end })?;
            (found.last_time, found.last_physical) = (hits.last_time, hits.last_physical);
            let mut oldest = None;
            for at in &hits.offsets {
                let start = out.len();
                match self.record_at(*at, Wait::Allowed, out) {
                    Ok(()) => {}
                    Err(ReadError::NotFound(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
                let record = record::decode(&out[start..]).ok();
                oldest = oldest.or(record.map(|record| record.store_timestamp));
                if record
                    .is_some_and(|record| record.topic == query.topic && has_key(record.properties, query))
                {
                    found.records += 1;
                } else {
                    out.truncate(start);
                }
            }
            match oldest {
                Some(time) if found.records == 0 && hits.offsets.len() >= query.max => {
                    end = TimestampMs(time.0 - 1);
                }
                _ => break,
            }
        }
        Ok(found)
    }
}

fn has_key(properties: Properties<'_>, query: &KeyQuery<'_>) -> bool {
    match query.kind {
        KeyKind::Tag => properties.get(name::TAGS) == Some(query.key),
        KeyKind::Key => {
            let keys = properties.get(name::KEYS).unwrap_or_default();
            properties.get(name::UNIQUE_KEY) == Some(query.key) || keys.split(' ').any(|key| key == query.key)
        }
    }
}
