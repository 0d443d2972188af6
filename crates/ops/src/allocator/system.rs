//! Where memory comes from.

/// New memory that begins at a page, in huge pages where the system has them.
#[cfg(target_os = "linux")]
pub(super) fn span(size: usize) -> Option<*mut u8> {
    use libc::{MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE};
    const HUGE_PAGE: usize = 2 << 20;

    let (access, kind) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    // SAFETY: new addresses, at no place that anything else has.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size.checked_add(HUGE_PAGE)?, access, kind, -1, 0) };
    if start == MAP_FAILED {
        return None;
    }
    let start: *mut u8 = start.cast();
    let span = start.wrapping_add(start.align_offset(HUGE_PAGE));
    // SAFETY: advice on memory that is ours; it changes no content, and a refusal does not matter.
    unsafe { libc::madvise(span.cast(), size, MADV_HUGEPAGE) };
    keep_small_blocks();
    Some(span)
}

/// Where no large block passes through glibc, it gives 128 KiB of small ones back at once, and the pages of a step that
/// allocates them again are cleared again.
#[cfg(target_os = "linux")]
fn keep_small_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the system's allocator; a refusal does not matter.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 20)
    };
}

/// New memory that begins at a page.
#[cfg(not(target_os = "linux"))]
pub(super) fn span(size: usize) -> Option<*mut u8> {
    use std::alloc::{GlobalAlloc, Layout, System};

    let layout = Layout::from_size_align(size, super::PAGE).ok()?;
    // SAFETY: the size is not 0.
    let span = unsafe { System.alloc(layout) };
    (!span.is_null()).then_some(span)
}
