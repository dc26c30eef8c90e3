// A 64-bit digest of an array. In: its memory, shape and strides. Out: a number that changes when an element
// is written, however that is done.
//
// Every 8 bytes enter one of a few lanes by a step that is invertible in the lane and in the bytes. So a
// single change always changes the digest, and several changes together (swapped rows, flipped signs) miss
// with a probability of 2^-64. It does not withstand deliberate collisions.
//
// Traffic: each byte is read once; for arrays outside of the cache the steps take less time than the reads.
#pragma once

#include <cstdint>

namespace lastlayer {

// Strides in bytes, of any sign. Axes are read in the order of memory, so that a transposed matrix is read
// from front to back; an axis of stride 0 is read once.
std::uint64_t digest(const char* data, int item_size, int axes, const std::int64_t* shape,
                     const std::int64_t* strides);

}  // namespace lastlayer
