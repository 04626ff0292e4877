// Digests. SHA-256 and HMAC are OpenSSL's; XXH3 is xxHash's.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace decant {

// Incremental SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view bytes);
  std::string hex();  // lower case, 64 characters; ends the digest

 private:
  void* context_;
};

std::string sha256_hex(std::string_view bytes);
std::string sha256_file(const std::filesystem::path& path);  // Error if it cannot be read

// HMAC-SHA-256, raw 32 bytes.
std::array<uint8_t, 32> hmac_sha256(std::string_view key, std::string_view message);

uint64_t xxh3_64(std::string_view bytes, uint64_t seed = 0);

std::string to_hex(std::string_view bytes);

}  // namespace decant
