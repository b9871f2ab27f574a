//! An object store in memory.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Mutex, MutexGuard};

use ltx::Timestamp;
use replica::{Capabilities, IfTaken, Object, ObjectStore, Span};

type Objects = BTreeMap<String, (Vec<u8>, Timestamp)>;

#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Objects>);

impl MemoryStore {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap()
    }
}

impl ObjectStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { lists_one_moment: true, is_local: true }
    }

    fn init(&self, _prefixes: &[String]) -> Result<(), (Option<String>, io::Error)> {
        Ok(())
    }

    fn list(&self, folder: &str, start: &str) -> io::Result<Vec<Object>> {
        let objects = self.objects();
        let names =
            objects.range(format!("{folder}{start}")..).take_while(|(key, _)| key.starts_with(folder));
        let object = |(key, (bytes, time)): (&String, &(Vec<u8>, Timestamp))| Object {
            key: key.clone(),
            size: bytes.len() as u64,
            modified: *time,
        };
        Ok(names.map(object).collect())
    }

    fn open(&self, key: &str, span: Span) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.objects().get(key).map(|(bytes, _)| bytes.clone()).ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(usize::try_from(span.offset).unwrap()..).unwrap_or_default().to_vec();
        Ok(Box::new(Cursor::new(rest).take(span.size.unwrap_or(u64::MAX))))
    }

    fn write(&self, key: &str, data: &mut dyn Read, taken: IfTaken, time: Timestamp) -> io::Result<u64> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        let (mut objects, size) = (self.objects(), bytes.len() as u64);
        match objects.get(key) {
            Some((known, _)) if taken == IfTaken::Keep && *known == bytes => {}
            Some(_) if taken == IfTaken::Keep => return Err(io::ErrorKind::AlreadyExists.into()),
            _ => drop(objects.insert(key.to_owned(), (bytes, time))),
        }
        Ok(size)
    }

    fn delete(&self, keys: &[String]) -> Vec<(String, io::Error)> {
        keys.iter().for_each(|key| drop(self.objects().remove(key)));
        Vec::new()
    }

    fn clear(&self) -> io::Result<()> {
        self.objects().clear();
        Ok(())
    }
}
