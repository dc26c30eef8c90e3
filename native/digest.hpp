// A 64-bit digest of all bits of an array: whether it has been written to since, by whatever way.
//
// Every 8 bytes go into one of a few lanes by a step that is invertible in both the lane and the bytes, so a
// single change always shows, and others (rows swapped, signs flipped) but for one case in 2^64. Not meant to
// withstand someone who looks for collisions.
//
// Traffic: each byte is read once; the steps are cheaper than that for arrays outside of the cache.
#pragma once

#include <cstdint>

namespace lastlayer {

// Strides in bytes, of any sign. Axes are taken in the order of memory, so a transposed matrix is read as it
// lies; axes that repeat the same memory (stride 0) are read once.
std::uint64_t digest(const char* data, int item_size, int axes, const std::int64_t* shape,
                     const std::int64_t* strides);

}  // namespace lastlayer
