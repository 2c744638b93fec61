//! The bytes of one connection that are read but not handed over yet.
//!
//! All connections of a worker thread read into one shared buffer and hand over complete frames right there. Only
//! what is left, a piece of a frame as a rule, moves into the connection's own buffer; the next read puts it back in
//! front of the new bytes. A frame that does not fit the shared buffer is read straight into the own one, which grows
//! as bytes arrive, never ahead of them by more than a factor of two.
//!
//! Own buffers up to [`FREE_UNREAD_BYTES`] are free. A larger frame is charged to the process-wide budget in whole
//! before more of it is read, so what is being received can always be finished.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use crate::limits::{Budget, FREE_UNREAD_BYTES, READ_BYTES};
use crate::stream::Stream;

/// Where the bytes of a read are.
pub(crate) enum Filled {
    /// In the shared buffer, behind the kept ones; together they are so many.
    Shared(usize),
    /// The kept bytes have become more.
    Own,
}

#[derive(Default)]
pub(crate) struct Inbox {
    /// Initialised memory; the kept bytes are `own[..len]`.
    own: Vec<u8>,
    len: usize,
    /// How long the kept bytes must become before they can be a frame. Not beyond `len`: they hold one already.
    wanted: usize,
    charged: usize,
}

impl Inbox {
    /// Starts with bytes that came before anybody looked for frames.
    pub(crate) fn with_early(early: Vec<u8>) -> Self {
        Self { len: early.len(), own: early, wanted: 0, charged: 0 }
    }

    /// There are kept bytes that may hold complete frames.
    pub(crate) fn has_backlog(&self) -> bool {
        self.len > 0 && self.wanted <= self.len
    }

    /// A frame has begun that was charged for.
    pub(crate) fn is_receiving_large_frame(&self) -> bool {
        self.len > 0 && self.wanted > self.len && self.charged > 0
    }

    /// Memory that could be given back, were the connection idle.
    pub(crate) fn holds_spare_memory(&self) -> bool {
        self.len == 0 && self.own.capacity() > 0
    }

    /// Reads once and returns the number of bytes; none is the end. Only when there is no backlog.
    pub(crate) fn fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        shared: &mut [u8],
        budget: &Budget,
    ) -> Poll<io::Result<(usize, Filled)>> {
        debug_assert!(!self.has_backlog(), "what is there must be handed over first");
        if self.len == 0 || self.wanted <= shared.len() {
            // While the budget is short, a connection must not come to keep more than its free share.
            let room = if budget.is_short() { FREE_UNREAD_BYTES } else { shared.len() };
            let end = (self.len + room).max(self.wanted).min(shared.len());
            let read = ready!(stream.poll_read(cx, &mut shared[self.len..end]))?;
            shared[..self.len].copy_from_slice(&self.own[..self.len]);
            return Poll::Ready(Ok((read, Filled::Shared(self.len + read))));
        }
        if self.len == self.own.len() {
            let grown = (self.len * 2).max(READ_BYTES).min(self.wanted);
            self.own.reserve_exact(grown - self.len);
            self.own.resize(grown, 0);
        }
        // Not beyond the frame: what follows it belongs into the shared buffer.
        let end = self.own.len().min(self.wanted);
        let read = ready!(stream.poll_read(cx, &mut self.own[self.len..end]))?;
        self.len += read;
        Poll::Ready(Ok((read, Filled::Own)))
    }

    /// Keeps what was not handed over of the shared buffer.
    pub(crate) fn keep(&mut self, rest: &[u8], wanted: usize) {
        if self.own.len() < rest.len() {
            self.own.resize(rest.len().next_power_of_two(), 0);
        }
        self.own[..rest.len()].copy_from_slice(rest);
        (self.len, self.wanted) = (rest.len(), wanted);
    }

    /// Lends the kept bytes out, to be [put back](Inbox::put_back).
    pub(crate) fn lend(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.own), self.len)
    }

    /// Keeps what was not handed over of the lent bytes.
    pub(crate) fn put_back(&mut self, mut own: Vec<u8>, handed_over: usize, wanted: usize) {
        own.copy_within(handed_over..self.len, 0);
        self.own = own;
        (self.len, self.wanted) = (self.len - handed_over, wanted);
    }

    /// Settles with the budget for what is kept. False when not enough is left of it: then nothing more may be read,
    /// and the waker is woken when that may have changed.
    pub(crate) fn settle(&mut self, budget: &Budget, connection: u64, waker: &Waker) -> bool {
        let frame = if self.len == 0 { 0 } else { self.wanted.max(self.len) };
        // An emptied buffer is kept for the next large frame, unless others need the room.
        if self.own.len() > FREE_UNREAD_BYTES.max(frame) && budget.is_short() {
            self.own.truncate(self.len);
            self.own.shrink_to_fit();
        }
        let size = frame.max(self.own.len());
        let due = if size <= FREE_UNREAD_BYTES { 0 } else { size };
        if due > self.charged {
            if !budget.take_or_wait((due - self.charged) as u64, connection, waker) {
                return false;
            }
        } else if due < self.charged {
            budget.give_back((self.charged - due) as u64);
        }
        self.charged = due;
        true
    }

    /// Gives back spare memory.
    pub(crate) fn relax(&mut self, budget: &Budget) {
        if self.len == 0 {
            self.own = Vec::new();
            budget.give_back(self.charged as u64);
            self.charged = 0;
        }
    }

    /// The connection ends.
    pub(crate) fn abandon(&mut self, budget: &Budget, connection: u64) {
        self.len = 0;
        self.relax(budget);
        budget.stop_waiting(connection);
    }
}
