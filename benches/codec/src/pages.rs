//! Pages as a database of ordinary rows has them.

/// Pieces of text that rows share.
const PHRASES: [&str; 4] = [
    "the order was confirmed by the customer and paid in full ",
    "waiting for the carrier to collect it from the warehouse ",
    "left with a neighbour, as nobody opened at the address ",
    "returned to the sender because the address is unknown ",
];

/// A stream of numbers without pattern, the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Table leaf pages full of rows, each with 80 random hexadecimal digits and about 110 characters of text.
pub(crate) fn database(page_size: usize, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(0x5eed);
    let mut rowid = 0;
    std::iter::repeat_with(|| leaf_page(page_size, &mut rowid, &mut random)).take(count).collect()
}

/// SQLite file format, section 1.6: header and cell pointers from the front, cells from the end.
fn leaf_page(page_size: usize, rowid: &mut u64, random: &mut Random) -> Vec<u8> {
    let mut pointers = Vec::new();
    let mut cells = Vec::new();
    let mut count = 0_u16;
    loop {
        let cell = row(*rowid + 1, random);
        if 8 + pointers.len() + 2 + cells.len() + cell.len() > page_size {
            break;
        }
        cells.splice(0..0, cell);
        pointers.extend_from_slice(&((page_size - cells.len()) as u16).to_be_bytes());
        *rowid += 1;
        count += 1;
    }
    let mut page = vec![0x0d, 0, 0];
    page.extend_from_slice(&count.to_be_bytes());
    page.extend_from_slice(&((page_size - cells.len()) as u16).to_be_bytes());
    page.push(0);
    page.extend_from_slice(&pointers);
    page.resize(page_size - cells.len(), 0);
    page.extend_from_slice(&cells);
    page
}

fn row(rowid: u64, random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..5 {
        text.push_str(&format!("{:016x}", random.next()));
    }
    while text.len() < 80 + 110 {
        text.push_str(PHRASES[(random.next() >> 20) as usize % PHRASES.len()]);
    }
    text.truncate(80 + 110);
    let mut cell =
        vec![0x81, 0x43, 0x80 | (rowid >> 14) as u8, 0x80 | (rowid >> 7) as u8, (rowid & 0x7f) as u8];
    cell.extend_from_slice(&[5, 0, 0x81, 0x2d, 0x81, 0x69]);
    cell.extend_from_slice(text.as_bytes());
    cell
}
