// Memory of one render: allocated by moving a pointer, freed all at once, bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace decant::jinja {

class Arena {
 public:
  // Forgets everything and sets the bound; the first block is kept for the next render.
  void reset(uint64_t limit);

  // Aligned to 8 bytes. Error over the bound.
  void* allocate(size_t bytes) {
    bytes = (bytes + 7) & ~size_t{7};
    if (bytes > left_) [[unlikely]]
      return allocate_slowly(bytes);
    char* at = next_;
    next_ += bytes;
    left_ -= bytes;
    return at;
  }
  char* text(size_t bytes) { return static_cast<char*>(allocate(bytes)); }
  // Nothing made here is ever destroyed.
  template <class T, class... Parts>
  T* make(Parts&&... parts) {
    static_assert(std::is_trivially_destructible_v<T>);
    return new (allocate(sizeof(T))) T{std::forward<Parts>(parts)...};
  }
  template <class T>
  T* array(size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
    return static_cast<T*>(allocate(sizeof(T) * count));
  }

 private:
  void* allocate_slowly(size_t bytes);

  char* next_ = nullptr;
  size_t left_ = 0;
  uint64_t used_ = 0, limit_ = 0;
  std::unique_ptr<char[]> first_;
  std::vector<std::unique_ptr<char[]>> more_;
};

}  // namespace decant::jinja
