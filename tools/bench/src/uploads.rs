//! Uploads in parts that a worker has begun. Their parts go side by side, over all of its connections.

use crate::objects::Object;

pub(crate) struct Upload {
    pub(crate) object: Object,
    pub(crate) id: String,
    part_bytes: u64,
    next_part: usize,
    /// Of each part, once it is there.
    etags: Vec<Option<String>>,
    is_completing: bool,
    /// A step failed: there are no further ones.
    is_given_up: bool,
}

impl Upload {
    pub(crate) fn new(object: Object, id: String, part_bytes: u64) -> Upload {
        let parts = object.size.div_ceil(part_bytes).max(1) as usize;
        Upload {
            object,
            id,
            part_bytes,
            next_part: 0,
            etags: vec![None; parts],
            is_completing: false,
            is_given_up: false,
        }
    }
}

/// What an upload needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Number, from 1, and size.
    Part(usize, u64),
    /// With the ETags of all parts.
    Complete(Vec<String>),
}

/// Uploads by a number that they keep.
#[derive(Default)]
pub(crate) struct Uploads {
    rows: Vec<(u64, Upload)>,
    next: u64,
}

impl Uploads {
    /// Whether none will ever have a further step.
    pub(crate) fn are_over(&self) -> bool {
        self.rows.iter().all(|(_, upload)| upload.is_given_up)
    }

    pub(crate) fn add(&mut self, upload: Upload) {
        self.rows.push((self.next, upload));
        self.next += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Upload> {
        self.rows.iter().find(|(own, _)| *own == number).map(|(_, upload)| upload)
    }

    /// The next step of the first that has one.
    pub(crate) fn step(&mut self) -> Option<(u64, Step)> {
        self.rows.iter_mut().filter(|(_, upload)| !upload.is_given_up).find_map(|(number, upload)| {
            let part = upload.next_part;
            if part < upload.etags.len() {
                upload.next_part += 1;
                let before = part as u64 * upload.part_bytes;
                return Some((*number, Step::Part(part + 1, upload.part_bytes.min(upload.object.size - before))));
            }
            let etags: Option<Vec<String>> = upload.etags.iter().cloned().collect();
            let etags = etags.filter(|_| !std::mem::replace(&mut upload.is_completing, true))?;
            Some((*number, Step::Complete(etags)))
        })
    }

    /// It is there until it is aborted.
    pub(crate) fn give_up(&mut self, number: u64) {
        if let Some((_, upload)) = self.rows.iter_mut().find(|(own, _)| *own == number) {
            upload.is_given_up = true;
        }
    }

    /// A part is there.
    pub(crate) fn has_part(&mut self, number: u64, part: usize, etag: String) {
        if let Some((_, upload)) = self.rows.iter_mut().find(|(own, _)| *own == number) {
            upload.etags[part - 1] = Some(etag);
        }
    }

    /// Takes one out that was completed.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Upload> {
        let row = self.rows.iter().position(|(own, _)| *own == number)?;
        Some(self.rows.remove(row).1)
    }

    /// Takes one out, to be aborted.
    pub(crate) fn pop(&mut self) -> Option<Upload> {
        self.rows.pop().map(|(_, upload)| upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_completed_once_when_all_parts_are_there() {
        let mut uploads = Uploads::default();
        let object = Object { number: 1, content: 1, size: 11, version: None };
        uploads.add(Upload::new(object, "id".to_owned(), 5));
        for part in [Step::Part(1, 5), Step::Part(2, 5), Step::Part(3, 1)] {
            assert_eq!(uploads.step(), Some((0, part)));
        }
        uploads.has_part(0, 3, "c".to_owned());
        uploads.has_part(0, 1, "a".to_owned());
        assert_eq!(uploads.step(), None);
        uploads.has_part(0, 2, "b".to_owned());
        assert_eq!(uploads.step(), Some((0, Step::Complete(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]))));
        assert_eq!(uploads.step(), None);
        assert_eq!(uploads.remove(0).map(|upload| upload.id).as_deref(), Some("id"));
        assert!(uploads.are_over() && uploads.pop().is_none());
    }

    #[test]
    fn an_upload_that_is_given_up_has_no_steps_and_can_be_aborted() {
        let mut uploads = Uploads::default();
        let object = Object { number: 1, content: 1, size: 11, version: None };
        uploads.add(Upload::new(object, "id".to_owned(), 5));
        assert!(uploads.step().is_some() && !uploads.are_over());
        uploads.give_up(0);
        uploads.has_part(0, 1, "late".to_owned());
        assert!(uploads.step().is_none() && uploads.are_over());
        assert_eq!(uploads.pop().map(|upload| upload.id).as_deref(), Some("id"));
    }
}
