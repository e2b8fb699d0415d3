//! Reports as text for the operator: one fact a line.

use std::fmt::{self, Formatter};

use super::{
    Class, DriveReport, End, Epoch, Failure, FoundIn, FragmentState, ObjectReport, SlotFile, StripeReport, VolumeFacts,
    VolumeReport,
};

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io { path, error } => write!(f, "read {}: {error}", path.display()),
            Failure::Drives(what) => f.write_str(what),
            Failure::NoVolume(volume) => write!(f, "no drive has a readable file of volume {volume}"),
            Failure::NoBucket(bucket) => write!(f, "there is no bucket {bucket}"),
            Failure::NoObject(object) => write!(f, "there is no object {object}"),
            Failure::Index(what) => write!(f, "index: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for DriveReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "directory    {}", self.dir.display())?;
        match &self.identity {
            Ok(identity) => {
                writeln!(f, "deployment   {}", identity.deployment)?;
                writeln!(f, "drive        {}", identity.drive)?;
            }
            Err(why) => writeln!(f, "identity     not readable: {why}")?,
        }
        match &self.epoch {
            Ok(epoch) => epoch.fmt(f)?,
            Err(why) => writeln!(f, "topology     not readable: {why}")?,
        }
        let log =
            self.files.iter().filter(|file| file.page.as_ref().is_ok_and(|page| page.class == Class::Log)).count();
        let bad = self.files.iter().filter(|file| file.page.is_err()).count();
        let data = self.files.len() - log - bad;
        writeln!(f, "slot files   {log} of log volumes, {data} of data volumes, {bad} not readable")?;
        writeln!(f, "tables       of {} partitions", self.partitions.len())?;
        self.files.iter().try_for_each(|file| writeln!(f, "  {file}"))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "epoch        {} ({:016x})", self.number, self.id)?;
        writeln!(f, "start        {}", self.start.value())?;
        writeln!(f, "parity       {}", self.parity)?;
        let primary = if self.tables_count { ", tables are primary data" } else { "" };
        writeln!(f, "partitions   {}{primary}", self.partitions)?;
        for (drive, out_since) in &self.drives {
            match out_since {
                0 => writeln!(f, "member       {drive} in")?,
                epoch => writeln!(f, "member       {drive} out since epoch {epoch}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for SlotFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} {} bytes: ", self.volume, self.slot, self.bytes)?;
        match &self.page {
            Ok(page) => write!(f, "{} {} of epoch {}", class(page.class), page.geometry, page.epoch),
            Err(why) => write!(f, "first page not readable: {why}"),
        }
    }
}

impl fmt::Display for VolumeFacts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "volume       {}", self.volume)?;
        let (start, shard) = (self.volume.start().value(), self.volume.shard());
        writeln!(f, "written by   start {start}, shard {shard}, its number {}", self.volume.counter())?;
        writeln!(f, "deployment   {}", self.deployment)?;
        writeln!(f, "class        {} {}, made in epoch {}", class(self.class), self.geometry, self.epoch)?;
        writeln!(f, "slot bytes   {}", self.slot_bytes)?;
        if let Some(End { volume, end }) = &self.predecessor {
            writeln!(f, "follows      {volume}, which ends at page {}", end.0)?;
        }
        self.closes.iter().try_for_each(|End { volume, end }| writeln!(f, "closes       {volume} at page {}", end.0))
    }
}

impl fmt::Display for VolumeReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)?;
        if let Some(end) = self.end {
            writeln!(f, "ends at      page {}", end.0)?;
        }
        for (slot, (file, drive)) in self.slots.iter().zip(&self.facts.drives).enumerate() {
            match file {
                Some(path) => writeln!(f, "slot {slot:<7} {}", path.display())?,
                None => writeln!(f, "slot {slot:<7} not there: drive {drive}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for StripeReport {
    /// One line: fragments by index, `+` whole, `x` damaged, `-` missing, `?` drive not there.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} page {}: ", self.volume, self.at.0)?;
        let Some(stated) = self.stated else { return f.write_str("no fragment is left") };
        write!(f, "stripe {} of {} bytes, {}, fragments", stated.sequence, stated.stripe_len, self.geometry)?;
        for fragment in &self.fragments {
            let state = match fragment.state {
                FragmentState::Whole => '+',
                FragmentState::Damaged => 'x',
                FragmentState::Missing => '-',
                FragmentState::Unavailable => '?',
            };
            write!(f, " {}:{state}{}", fragment.index, fragment.slot)?;
        }
        if !self.is_readable() {
            f.write_str(", NOT READABLE")?;
        }
        Ok(())
    }
}

impl fmt::Display for ObjectReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "object       {}/{}", self.bucket, self.key)?;
        writeln!(f, "size         {} bytes, {} parts", self.size, self.parts)?;
        writeln!(f, "etag         {}", self.etag)?;
        writeln!(f, "modified     {} ms", self.modified.milliseconds())?;
        writeln!(f, "version      {} (commit {:016x})", self.version, self.lsn.0)?;
        match &self.found_in {
            FoundIn::Tables(dir) => writeln!(f, "record       partition {}, {}", self.partition.0, dir.display())?,
            FoundIn::Log { volume, at } => {
                writeln!(f, "record       partition {}, log volume {volume} page {}", self.partition.0, at.0)?;
            }
        }
        let (all, degraded, lost) = (self.stripes, self.stripes_degraded, self.stripes_lost);
        writeln!(f, "stripes      {all}: {} whole, {degraded} degraded, {lost} lost", all - degraded - lost)?;
        if self.bodies_wrong > 0 {
            writeln!(f, "WRONG        {} small bodies are not what was committed", self.bodies_wrong)?;
        }
        writeln!(f, "fragments    index:state slot; + whole, x damaged, - missing, ? drive not there")?;
        self.listed.iter().try_for_each(|stripe| writeln!(f, "  {stripe}"))
    }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Log => "log",
        Class::Data => "data",
    }
}
