//! The slot table of a file that is being written, in memory, page by page.
//!
//! A page is loaded when one of its slots is first needed, so that a restart costs nothing and an idle broker no
//! memory; pages of a file created by this process begin as zeros.

use std::io;

use super::file::{self, SLOT_SIZE, Shape};
use crate::disk::DiskFile;

/// Slots of a page: 4 KiB.
const PAGE: usize = 1_024;

pub(super) struct Slots {
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    dirty: Vec<bool>,
    count: usize,
    /// Pages in memory.
    loaded: usize,
    /// Whether pages that are not in memory are zero and not in the file.
    zero: bool,
    /// Pages before this one are not dirty.
    clean_before: usize,
}

impl Slots {
    /// Of a new file.
    pub(super) fn empty(count: u32) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let pages = count.div_ceil(PAGE);
        Self {
            pages: vec![None; pages],
            dirty: vec![false; pages],
            count,
            loaded: 0,
            zero: true,
            clean_before: pages,
        }
    }

    /// Of a file whose slot table is complete.
    pub(super) fn stored(count: u32) -> Self {
        Self { zero: false, ..Self::empty(count) }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.loaded * PAGE * SLOT_SIZE
    }

    /// Bytes in memory once every page was needed.
    pub(super) fn bytes_max(count: u32) -> usize {
        usize::try_from(count).unwrap_or(usize::MAX).div_ceil(PAGE) * PAGE * SLOT_SIZE
    }

    /// The newest entry of a slot's chain. `handle` is the file, from which a page is loaded if need be.
    pub(super) fn get(&mut self, slot: u32, handle: Option<&dyn DiskFile>, shape: Shape) -> io::Result<u32> {
        let (page, index) = place(slot);
        if let Some(loaded) = &self.pages[page] {
            return Ok(loaded[index]);
        }
        let mut fresh = Box::new([0; PAGE]);
        if let (false, Some(handle)) = (self.zero, handle) {
            let slots = (self.count - page * PAGE).min(PAGE);
            let mut bytes = vec![0; slots * SLOT_SIZE];
            let first = slot - slot % PAGE as u32;
            handle.read_at(&mut bytes, shape.slot_at(first))?;
            for (slot, raw) in fresh.iter_mut().zip(bytes.as_chunks::<SLOT_SIZE>().0) {
                *slot = file::link(i32::from_be_bytes(*raw));
            }
        }
        let head = fresh[index];
        self.pages[page] = Some(fresh);
        self.loaded += 1;
        Ok(head)
    }

    /// Changes a slot whose page [`Slots::get`] has loaded.
    pub(super) fn set(&mut self, slot: u32, head: u32) {
        let (page, index) = place(slot);
        self.pages[page].get_or_insert_with(|| Box::new([0; PAGE]))[index] = head;
        self.dirty[page] = true;
        self.clean_before = self.clean_before.min(page);
    }

    /// Encodes up to `max` dirty pages that follow each other into `buffer`, now clean; returns the first slot.
    pub(super) fn take_dirty(&mut self, max: usize, buffer: &mut Vec<u8>) -> Option<u32> {
        buffer.clear();
        let first = (self.clean_before..self.dirty.len()).find(|page| self.dirty[*page]);
        self.clean_before = first.unwrap_or(self.dirty.len());
        let first = first?;
        for page in
            (first..self.dirty.len()).take(max).take_while(|page| self.dirty[*page]).collect::<Vec<_>>()
        {
            self.dirty[page] = false;
            let slots = (self.count - page * PAGE).min(PAGE);
            match &self.pages[page] {
                Some(loaded) => buffer.extend(loaded[..slots].iter().flat_map(|head| head.to_be_bytes())),
                None => buffer.resize(buffer.len() + slots * SLOT_SIZE, 0),
            }
        }
        u32::try_from(first * PAGE).ok()
    }

    /// Marks what could not be written after all.
    pub(super) fn mark_dirty(&mut self, first: u32, slots: usize) {
        let (first, _) = place(first);
        self.clean_before = self.clean_before.min(first);
        for page in self.dirty.iter_mut().skip(first).take(slots.div_ceil(PAGE)) {
            *page = true;
        }
    }

    /// Marks all: what the file holds is not to be trusted.
    pub(super) fn mark_all_dirty(&mut self) {
        self.dirty.fill(true);
        self.clean_before = 0;
    }
}

fn place(slot: u32) -> (usize, usize) {
    let slot = usize::try_from(slot).unwrap_or(usize::MAX);
    (slot / PAGE, slot % PAGE)
}
