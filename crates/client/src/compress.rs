//! Decompression of bodies. Producers of any language may compress, so all three ways are always understood.

use std::io::Read;

use bytes::Bytes;
use ferromq_protocol::sys_flag::{self, Compression};
use thiserror::Error;

/// What a body may grow to. The official clients send 4 MiB at most; a small body that claims to be
/// more than this is an attack.
const DECOMPRESSED_LEN_MAX: u64 = 64 * 1024 * 1024;

#[derive(Debug, Error)]
pub enum BadBody {
    #[error("a body compressed in an unknown way, system flag {0:#x}")]
    UnknownKind(i32),
    #[error("a compressed body cannot be read: {0}")]
    Broken(#[from] std::io::Error),
    #[error("a body of {0} bytes grows beyond {DECOMPRESSED_LEN_MAX} when decompressed")]
    TooLong(usize),
}

/// The body as the producer had it.
pub(crate) fn decompress(sys_flag: i32, body: Bytes) -> Result<Bytes, BadBody> {
    if sys_flag & sys_flag::COMPRESSED == 0 {
        return Ok(body);
    }
    match sys_flag::compression(sys_flag) {
        None => Err(BadBody::UnknownKind(sys_flag)),
        Some(Compression::Zlib) => read_all(flate2::read::ZlibDecoder::new(&body[..]), body.len()),
        Some(Compression::Lz4) => read_all(lz4_flex::frame::FrameDecoder::new(&body[..]), body.len()),
        Some(Compression::Zstd) => read_all(zstd::stream::read::Decoder::new(&body[..])?, body.len()),
    }
}

fn read_all(reader: impl Read, compressed_len: usize) -> Result<Bytes, BadBody> {
    let mut out = Vec::new();
    let read = reader.take(DECOMPRESSED_LEN_MAX + 1).read_to_end(&mut out)?;
    if read as u64 > DECOMPRESSED_LEN_MAX {
        return Err(BadBody::TooLong(compressed_len));
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ZLIB_OF_JAVA: &[u8] = b"x^\xed\xc11\x01\x00\x00\x00\xc2\xa0\xda\x8bo\x08_\xa0\x00\x00\x00\x00\x00\x80\xd7\x00\x1d\xa4\xfd\x17";

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_without_the_flag_is_left_alone() {
        let body = Bytes::from_static(b"x^ not zlib");
        assert_eq!(decompress(0x300, body.clone()).unwrap(), body);
    }

    #[test]
    fn roundtrip_of_every_kind() {
        let body = b"a message ".repeat(100);
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&body).unwrap();
        let lz4 = lz4.finish().unwrap();
        let zstd = zstd::stream::encode_all(&body[..], 3).unwrap();
        for (flag, compressed) in [(0x1, zlib(&body)), (0x101, lz4), (0x201, zstd), (0x301, zlib(&body))] {
            assert_eq!(decompress(flag, compressed.into()).unwrap(), body, "{flag:#x}");
        }
    }

    #[test]
    fn a_body_that_java_compressed_is_read() {
        // Recorded: system flag 769, a body of one letter repeated.
        let body = decompress(769, Bytes::from_static(ZLIB_OF_JAVA)).unwrap();
        assert!(body.len() > 4096 && body.iter().all(|byte| *byte == body[0]), "{} bytes", body.len());
    }

    #[test]
    fn rejects_what_is_broken_unknown_or_grows_without_bound() {
        assert!(matches!(decompress(0x1, Bytes::from_static(b"junk")), Err(BadBody::Broken(_))));
        assert!(matches!(decompress(0x701, Bytes::from_static(b"junk")), Err(BadBody::UnknownKind(0x701))));
        let bomb = zlib(&vec![0; 65 * 1024 * 1024]);
        assert!(matches!(decompress(0x1, bomb.into()), Err(BadBody::TooLong(_))));
    }
}
