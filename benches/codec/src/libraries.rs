//! LZ4 block libraries on single pages.

use std::error::Error;

use crate::timing::{self, Task, speed};

type Failure = Box<dyn Error>;

/// Both directions take input and output buffer, and return the length of the output.
type Step = Box<dyn FnMut(&[u8], &mut [u8]) -> Result<usize, Failure>>;

struct Library {
    name: &'static str,
    compress: Step,
    decompress: Step,
}

fn libraries(page_len: usize) -> Vec<Library> {
    let flex = if cfg!(feature = "flex-safe") { "lz4_flex, safe" } else { "lz4_flex, unsafe" };
    let reused = if cfg!(feature = "flex-safe") {
        "lz4_flex, safe, table kept"
    } else {
        "lz4_flex, unsafe, table kept"
    };
    let mut table = lz4_flex::block::CompressTable::default();
    let decompress_flex =
        || -> Step { Box::new(|block, page| Ok(lz4_flex::block::decompress_into(block, page)?)) };
    vec![
        Library {
            name: flex,
            compress: Box::new(|page, block| Ok(lz4_flex::block::compress_into(page, block)?)),
            decompress: decompress_flex(),
        },
        Library {
            name: reused,
            compress: Box::new(move |page, block| {
                Ok(lz4_flex::block::compress_into_with_table(page, block, &mut table)?)
            }),
            decompress: decompress_flex(),
        },
        Library {
            name: "lz4 (liblz4)",
            compress: Box::new(|page, block| Ok(lz4::block::compress_to_buffer(page, None, false, block)?)),
            decompress: Box::new(move |block, page| {
                Ok(lz4::block::decompress_to_buffer(block, Some(i32::try_from(page_len)?), page)?)
            }),
        },
        Library {
            name: "lzzzz (liblz4)",
            compress: Box::new(|page, block| Ok(lzzzz::lz4::compress(page, block, 1)?)),
            decompress: Box::new(|block, page| Ok(lzzzz::lz4::decompress(block, page)?)),
        },
    ]
}

/// Prints a row for each library.
pub(crate) fn measure(pages: &[Vec<u8>]) -> Result<(), Failure> {
    let page_len = pages.first().map_or(0, Vec::len);
    let total = page_len * pages.len();
    let mut libraries = libraries(page_len);
    let mut blocks = Vec::new();
    for library in &mut libraries {
        blocks.push(compress_all(library, pages)?);
    }
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for (library, blocks) in libraries.iter_mut().zip(&blocks) {
        let Library { compress, decompress, .. } = library;
        tasks.push(run(compress, pages, page_len * 2));
        tasks.push(run(decompress, blocks, page_len));
    }
    let durations = timing::measure(&mut tasks)?;
    drop(tasks);
    println!("| LZ4 library | compress MB/s | decompress MB/s | ratio |\n|---|---:|---:|---:|");
    for ((library, blocks), durations) in libraries.iter().zip(&blocks).zip(durations.chunks(2)) {
        let ratio = blocks.iter().map(Vec::len).sum::<usize>() as f64 / total as f64;
        let speeds: Vec<String> =
            durations.iter().map(|time| format!("{:.0}", speed(total, *time))).collect();
        println!("| {} | {} | {ratio:.3} |", library.name, speeds.join(" | "));
    }
    Ok(())
}

fn compress_all(library: &mut Library, pages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut blocks = Vec::new();
    for page in pages {
        let mut block = vec![0; page.len() * 2];
        let len = (library.compress)(page, &mut block)?;
        blocks.push(block[..len].to_vec());
    }
    Ok(blocks)
}

/// Takes every input once, into the same buffer.
fn run<'a>(step: &'a mut Step, inputs: &'a [Vec<u8>], buffer_len: usize) -> Task<'a> {
    let mut buffer = vec![0; buffer_len];
    Box::new(move || {
        let mut sum = 0;
        for input in inputs {
            sum += step(input, &mut buffer)?;
        }
        Ok(sum)
    })
}
