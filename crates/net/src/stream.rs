//! A connection's bytes, plain or TLS, and what is found out about them before the first frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::limits::Limits;
use crate::peer::{Closed, Peer};
use crate::proxy_protocol::{self, Preamble};
use crate::tls::{self, TlsMode};

/// The socket of an open connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Rewound>>),
}

impl Stream {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        match self {
            Self::Plain(tcp) => ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?,
            Self::Tls(tls) => ready!(Pin::new(tls).poll_read(cx, &mut buffer))?,
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// True when everything that was written has gone to the socket. TLS keeps records of its own.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Tells a TLS peer that the end is meant, as far as the socket takes it at once.
    pub(crate) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if let Self::Tls(tls) = self {
            let _ = Pin::new(tls).poll_shutdown(cx);
        }
    }
}

/// A socket with the bytes that were read from it too early.
pub(crate) struct Rewound {
    early: Vec<u8>,
    at: usize,
    tcp: TcpStream,
}

impl Rewound {
    pub(crate) fn new(early: Vec<u8>, tcp: TcpStream) -> Self {
        Self { early, at: 0, tcp }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.early[this.at..];
        if left.is_empty() {
            return Pin::new(&mut this.tcp).poll_read(cx, into);
        }
        let len = left.len().min(into.remaining());
        into.put_slice(&left[..len]);
        this.at += len;
        if this.at == this.early.len() {
            (this.early, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bytes)
    }
}

/// Finds out how an accepted connection begins: with a proxy's preamble, with TLS, or at once with frames. Returns
/// the stream of frames and what was read of it already.
///
/// A connection that says nothing waits here, and costs no buffer.
pub(crate) async fn open_accepted(
    tcp: TcpStream,
    peer: &Peer,
    tls: &tls::Acceptor,
    limits: &Limits,
) -> Result<(Stream, Vec<u8>), Closed> {
    let mut early = Vec::new();
    tokio::time::timeout(limits.idle, read_some(&tcp, &mut early)).await.map_err(|_| Closed::Idle)??;
    let hello = Box::pin(async {
        read_preamble(&tcp, peer, &mut early).await?;
        if early[0] != tls::HANDSHAKE_RECORD {
            return if tls.mode() == TlsMode::Enforcing {
                Err(Closed::TlsRefused)
            } else {
                Ok((Stream::Plain(tcp), early))
            };
        }
        if tls.mode() == TlsMode::Disabled {
            return Err(Closed::TlsRefused);
        }
        let config = tls.config().map_err(|error| {
            tracing::error!(%error, "a TLS connection is refused");
            Closed::TlsRefused
        })?;
        match TlsAcceptor::from(config).accept(Rewound::new(early, tcp)).await {
            Ok(stream) => Ok((Stream::Tls(Box::new(stream.into())), Vec::new())),
            Err(error) => {
                tracing::debug!(%error, peer = %peer.remote(), "TLS handshake failed");
                Err(Closed::TlsRefused)
            }
        }
    });
    tokio::time::timeout(limits.handshake, hello).await.map_err(|_| Closed::TooSlow)?
}

/// Consumes the proxy's preamble if there is one, and makes sure that at least one byte follows.
async fn read_preamble(tcp: &TcpStream, peer: &Peer, early: &mut Vec<u8>) -> Result<(), Closed> {
    loop {
        match proxy_protocol::parse(early) {
            Preamble::Absent => return Ok(()),
            Preamble::Malformed => return Err(Closed::Malformed),
            Preamble::Incomplete => read_some(tcp, early).await?,
            Preamble::Present { consumed, proxied } => {
                early.drain(..consumed);
                if let Some(proxied) = proxied {
                    peer.came_through(proxied);
                }
                break;
            }
        }
    }
    if early.is_empty() {
        read_some(tcp, early).await?;
    }
    Ok(())
}

async fn read_some(tcp: &TcpStream, early: &mut Vec<u8>) -> Result<(), Closed> {
    loop {
        tcp.readable().await.map_err(|_| Closed::Broken)?;
        match try_read(tcp, early) {
            Ok(0) => return Err(Closed::ByPeer),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Closed::Broken),
        }
    }
}

/// Its own function, so that the array is no part of the task's memory.
fn try_read(tcp: &TcpStream, early: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let len = tcp.try_read(&mut bytes)?;
    early.extend_from_slice(&bytes[..len]);
    Ok(len)
}
