//! Reading ahead: a thread carries more calls than its core's caches hold, so the first touch of each part of a call waits
//! for memory. Touching the parts of several calls first, without using them, lets those waits overlap.

/// Loads `value`, and does nothing with it.
pub fn touch<T: Copy>(value: T) {
    std::hint::black_box(value);
}

/// Loads one element of each cache line (64 bytes) of `slice`, as far as `most` elements.
pub fn touch_slice<T: Copy>(slice: &[T], most: usize) {
    let line = (64 / size_of::<T>().max(1)).max(1);
    slice[..slice.len().min(most)].iter().step_by(line).for_each(|value| touch(*value));
}
