//! The answer to a send that was stored, written in one go: it is the most frequent frame a broker writes.
//!
//! A test holds it equal to [`response::SendMessage`](crate::response::SendMessage) with `MSG_REGION` and `TRACE_ON`
//! beside it; only the time it takes differs (by half).

use super::{FrameTooLong, begin, mark_frame, mark_header};
use crate::frame::{Encoding, PREFIX_LEN};
use crate::header::{FLAG_RESPONSE, Head, Language};
use crate::json::text::push_escaped;
use crate::msg_id::OffsetMsgId;
use crate::types::{Host, PhysicalOffset, QueueId, QueueOffset};
use crate::version;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// 0, or one of the codes that mean "stored, but".
    pub code: i32,
    /// Of the request.
    pub opaque: i32,
    /// Region of the broker.
    pub region: &'a str,
    /// Whether clients may trace.
    pub trace_on: bool,
    /// Address of the broker as stored in the records.
    pub store_host: Host,
    /// Places of the records; several for a batch.
    pub physical: &'a [PhysicalOffset],
    /// Chosen queue.
    pub queue_id: QueueId,
    /// Place in the queue, of the first record.
    pub queue_offset: QueueOffset,
    /// Unique key of the message, if it has one.
    pub unique_key: Option<&'a str>,
}

/// Appends the answer to a send to `out`.
///
/// # Errors
/// If a batch has so many ids that the frame is too long; then `out` is left alone.
pub fn sent(out: &mut Vec<u8>, encoding: Encoding, sent: &Sent<'_>) -> Result<usize, FrameTooLong> {
    match encoding {
        Encoding::Json => json(out, sent),
        Encoding::Binary => {
            let mut header = begin(out, encoding, Head::response(sent.code, sent.opaque), None);
            header.text("MSG_REGION", sent.region);
            header.boolean("TRACE_ON", sent.trace_on);
            header.plain_with("msgId", |out| push_ids(out, sent));
            header.integer("queueId", i64::from(sent.queue_id.0));
            header.integer("queueOffset", sent.queue_offset.0);
            if let Some(key) = sent.unique_key {
                header.text("transactionId", key);
            }
            header.finish()
        }
    }
}

fn json(out: &mut Vec<u8>, sent: &Sent<'_>) -> Result<usize, FrameTooLong> {
    let start = out.len();
    let mut number = itoa::Buffer::new();
    out.reserve(512);
    out.extend_from_slice(b"\0\0\0\0\0\0\0\0{\"code\":");
    out.extend_from_slice(number.format(sent.code).as_bytes());
    out.extend_from_slice(b",\"extFields\":{\"MSG_REGION\":\"");
    push_escaped(out, sent.region);
    let trace: &[u8] = match sent.trace_on {
        true => b"\",\"TRACE_ON\":\"true\",\"msgId\":\"",
        false => b"\",\"TRACE_ON\":\"false\",\"msgId\":\"",
    };
    out.extend_from_slice(trace);
    push_ids(out, sent);
    out.extend_from_slice(b"\",\"queueId\":\"");
    out.extend_from_slice(number.format(sent.queue_id.0).as_bytes());
    out.extend_from_slice(b"\",\"queueOffset\":\"");
    out.extend_from_slice(number.format(sent.queue_offset.0).as_bytes());
    if let Some(key) = sent.unique_key {
        out.extend_from_slice(b"\",\"transactionId\":\"");
        push_escaped(out, key);
    }
    out.extend_from_slice(b"\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    out.extend_from_slice(number.format(sent.opaque).as_bytes());
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":513}");
    let header_len = out.len() - start - PREFIX_LEN;
    mark_header(out, start, Encoding::Json, header_len);
    mark_frame(out, start)
}

// The constants that are spelled out above.
const _: () = assert!(FLAG_RESPONSE == 1 && version::CURRENT == 513 && Language::Java as u8 == 0);

fn push_ids(out: &mut Vec<u8>, sent: &Sent<'_>) {
    for (at, &physical) in sent.physical.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(OffsetMsgId { store_host: sent.store_host, physical }.text().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::*;
    use crate::frame::{Split, split};
    use crate::header::{HeaderDecoder, OwnedFrame};
    use crate::response;

    fn decoded(bytes: &[u8]) -> OwnedFrame {
        let Split::Frame { frame, consumed } = split(bytes).unwrap() else { panic!("incomplete") };
        assert_eq!(consumed, bytes.len());
        HeaderDecoder::new().decode(frame).unwrap().to_owned(Bytes::copy_from_slice(frame.body))
    }

    /// The same answer through the declared header.
    fn declared(encoding: Encoding, sent: &Sent<'_>) -> OwnedFrame {
        let ids: Vec<_> = (sent.physical.iter())
            .map(|&physical| OffsetMsgId { store_host: sent.store_host, physical }.text().to_string())
            .collect();
        let mut out = Vec::new();
        let mut header = begin(&mut out, encoding, Head::response(sent.code, sent.opaque), None);
        header.text("MSG_REGION", sent.region);
        header.boolean("TRACE_ON", sent.trace_on);
        header.header(&response::SendMessage {
            msg_id: &ids.join(","),
            queue_id: sent.queue_id,
            queue_offset: sent.queue_offset,
            transaction_id: sent.unique_key,
            batch_uniq_id: None,
            recall_handle: None,
        });
        header.finish().unwrap();
        decoded(&out)
    }

    #[test]
    fn equals_the_declared_header() {
        let one = Sent {
            code: 0,
            opaque: 7,
            region: "DefaultRegion",
            trace_on: true,
            store_host: Host { ip: Ipv4Addr::new(10, 0, 0, 1).into(), port: 10911 },
            physical: &[PhysicalOffset(1024)],
            queue_id: QueueId(3),
            queue_offset: QueueOffset(99),
            unique_key: Some("0A0000070D1A18B4AAC200000000"),
        };
        let cases = [
            one,
            Sent { code: 10, opaque: -1, trace_on: false, unique_key: None, ..one },
            Sent { region: "a\"\\\u{1}", unique_key: Some("k\n"), ..one },
            Sent { physical: &[PhysicalOffset(0), PhysicalOffset(i64::MAX)], ..one },
        ];
        for case in cases {
            for encoding in [Encoding::Json, Encoding::Binary] {
                let mut out = b"before".to_vec();
                let len = sent(&mut out, encoding, &case).unwrap();
                assert_eq!(len + 6, out.len());
                assert_eq!(decoded(&out[6..]), declared(encoding, &case));
            }
        }
    }

    #[test]
    fn too_many_ids_leave_nothing() {
        let physical = vec![PhysicalOffset(1); 600_000];
        let case = Sent {
            code: 0,
            opaque: 7,
            region: "r",
            trace_on: true,
            store_host: Host { ip: Ipv4Addr::LOCALHOST.into(), port: 1 },
            physical: &physical,
            queue_id: QueueId(0),
            queue_offset: QueueOffset(0),
            unique_key: None,
        };
        for encoding in [Encoding::Json, Encoding::Binary] {
            let mut out = b"before".to_vec();
            assert!(sent(&mut out, encoding, &case).is_err());
            assert_eq!(out, b"before");
        }
    }
}
