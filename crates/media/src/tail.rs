//! The last samples of a stream, for whoever looks back.
//! Does not know what for.

/// As many samples as it was made for, oldest first. They are moved to the front of their memory once in a while and not
/// for every frame: that would be kilobytes fifty times a second for each call.
#[derive(Clone, Debug)]
pub(crate) struct Tail<T> {
    memory: Vec<T>,
    kept: usize,
    most: usize,
}

/// Additions of a length that is the usual one before the memory is put in order.
const ADDITIONS: usize = 8;

impl<T: Copy + Default> Tail<T> {
    /// `kept` samples of silence; `usual` are mostly added at once.
    pub(crate) fn new(kept: usize, usual: usize) -> Self {
        let most = kept + ADDITIONS * usual;
        let mut memory = Vec::with_capacity(most);
        memory.resize(kept, T::default());
        Self { memory, kept, most }
    }

    /// Adds samples and forgets as many.
    pub(crate) fn add(&mut self, samples: impl ExactSizeIterator<Item = T>) {
        if self.memory.len() + samples.len() > self.most {
            let old = self.memory.len() - self.kept;
            self.memory.copy_within(old.., 0);
            self.memory.truncate(self.kept);
        }
        self.memory.extend(samples);
    }

    /// What is kept.
    pub(crate) fn samples(&self) -> &[T] {
        &self.memory[self.memory.len() - self.kept..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_in_order_whatever_comes_at_once() {
        let mut tail = Tail::new(7, 2);
        assert_eq!(tail.samples(), [0; 7]);
        let mut all = vec![0; 7];
        for n in 0..200usize {
            let next: Vec<u32> = (0..[2, 2, 2, 0, 1, 40][n % 6]).map(|i| n as u32 * 100 + i).collect();
            tail.add(next.iter().copied());
            all.extend(next);
            assert_eq!(tail.samples(), &all[all.len() - 7..], "after {n}");
        }
        assert!(tail.memory.capacity() < 64, "{}", tail.memory.capacity());
    }
}
