//! Conditions on an object's current state, decided where the change is decided: at the key's owner.

use crate::{Etag, Timestamp};

/// The entity tags named by an `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagSet {
    /// `*`: whatever the object's tag is, as long as there is an object.
    Any,
    /// Tags that are not shaped like ours can match nothing and are left out.
    OneOf(Vec<Etag>),
}

impl EtagSet {
    pub fn contains(&self, etag: &Etag) -> bool {
        match self {
            EtagSet::Any => true,
            EtagSet::OneOf(etags) => etags.contains(etag),
        }
    }
}

/// Why a conditional change was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionRefused {
    /// The condition names an existing object and there is none (or a delete marker is on top).
    Missing,
    /// The object is there and is not as the condition says.
    Failed,
}

/// What must hold of the current object for a write (put, copy, complete) to replace it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteCondition {
    pub if_match: Option<EtagSet>,
    pub if_none_match: Option<EtagSet>,
}

impl WriteCondition {
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Decides against the tag of the current object; `None`: no object, or a delete marker.
    pub fn check(&self, current: Option<&Etag>) -> Result<(), ConditionRefused> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(ConditionRefused::Missing),
            (Some(set), Some(etag)) if !set.contains(etag) => return Err(ConditionRefused::Failed),
            (Some(_), Some(_)) | (None, _) => {}
        }
        match (&self.if_none_match, current) {
            (Some(set), Some(etag)) if set.contains(etag) => Err(ConditionRefused::Failed),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

/// What must hold of the current object for a delete. A missing object satisfies it: there is nothing to lose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteCondition {
    pub if_match: Option<EtagSet>,
    /// Compared to the second: that is all the header can say.
    pub modified: Option<Timestamp>,
    pub size_bytes: Option<u64>,
}

impl DeleteCondition {
    pub fn is_empty(&self) -> bool {
        *self == DeleteCondition::default()
    }

    /// Decides against tag, time and size of the current object; `None`: no object, or a delete marker.
    pub fn check(&self, current: Option<(&Etag, Timestamp, u64)>) -> Result<(), ConditionRefused> {
        let Some((etag, modified, size_bytes)) = current else {
            return Ok(());
        };
        let holds = self.if_match.as_ref().is_none_or(|set| set.contains(etag))
            && self.modified.is_none_or(|wanted| wanted.seconds() == modified.seconds())
            && self.size_bytes.is_none_or(|wanted| wanted == size_bytes);
        if holds { Ok(()) } else { Err(ConditionRefused::Failed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(fill: u8) -> Etag {
        Etag::from_md5([fill; 16])
    }

    #[test]
    fn a_write_is_refused_when_the_current_object_is_not_as_it_says() {
        let one = || Some(EtagSet::OneOf(vec![etag(1)]));
        let check = |if_match, if_none_match, current: Option<Etag>, expect| {
            let condition = WriteCondition { if_match, if_none_match };
            assert_eq!(condition.check(current.as_ref()), expect, "{condition:?} against {current:?}");
        };
        use ConditionRefused::*;
        check(None, None, None, Ok(()));
        check(None, None, Some(etag(1)), Ok(()));
        check(one(), None, None, Err(Missing));
        check(Some(EtagSet::Any), None, None, Err(Missing));
        check(Some(EtagSet::Any), None, Some(etag(9)), Ok(()));
        check(one(), None, Some(etag(1)), Ok(()));
        check(one(), None, Some(etag(2)), Err(Failed));
        check(None, Some(EtagSet::Any), None, Ok(()));
        check(None, Some(EtagSet::Any), Some(etag(1)), Err(Failed));
        check(None, one(), Some(etag(2)), Ok(()));
        check(None, one(), Some(etag(1)), Err(Failed));
    }

    #[test]
    fn a_conditional_delete_of_a_missing_key_succeeds_and_every_field_must_hold() {
        let now = Timestamp(5_000_000_123);
        let condition = DeleteCondition {
            if_match: Some(EtagSet::OneOf(vec![etag(1)])),
            modified: Some(Timestamp(5_000_000_000)),
            size_bytes: Some(7),
        };
        assert_eq!(condition.check(None), Ok(()));
        assert_eq!(condition.check(Some((&etag(1), now, 7))), Ok(()));
        for (etag, modified, size_bytes) in
            [(etag(2), now, 7), (etag(1), Timestamp(6_000_000_000), 7), (etag(1), now, 8)]
        {
            assert_eq!(condition.check(Some((&etag, modified, size_bytes))), Err(ConditionRefused::Failed));
        }
    }
}
