// Stores, tables and indices as one input: a byte that says what is mended, the manifest, and the
// pages of one shard without the zeros or spaces at their ends.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace helip::fuzz {

// What a directory that the library wrote is as an input.
std::string input_of(const std::filesystem::path& directory);

// The same with another text in the place of one of its manifest.
std::string with(const std::string& input, const std::string& old, const std::string& text);

// Writes the directory that an input stands for, in the place of what is there. By bits of the
// first byte sizes and digests of the shard (2) and the checksum of the manifest (1) are made to
// fit, so that damage goes on to what reads the values.
void write_container(std::string_view input, const std::filesystem::path& directory);

}  // namespace helip::fuzz
