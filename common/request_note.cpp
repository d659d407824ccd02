#include "common/request_note.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/text.h"

namespace green {
namespace {

constexpr std::size_t word_size = sizeof(std::uint64_t);
constexpr std::size_t words = std::tuple_size_v<decltype(ScoreboardSlot::request)>;
constexpr std::size_t room = words * word_size - 1;  // the rest is the final NUL
constexpr std::string_view cut_off = "…";

}  // namespace

void note_request(ScoreboardSlot& slot, std::string_view method, std::string_view path) {
  std::array<char, words * word_size> text;
  std::size_t size = 0;
  const auto append = [&](std::string_view part) {
    const std::size_t taken = std::min(part.size(), room - size);
    std::memcpy(text.data() + size, part.data(), taken);
    size += taken;
  };
  append(method);
  append(" ");
  append(path);
  if (method.size() + 1 + path.size() > room) {
    size = room - cut_off.size();
    append(cut_off);
  }
  const std::size_t used = size / word_size + 1;
  std::memset(text.data() + size, 0, used * word_size - size);
  for (std::size_t i = 0; i < used; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i * word_size, word_size);
    slot.request[i].store(word, std::memory_order_relaxed);
  }
}

std::string noted_request(const ScoreboardSlot& slot) {
  std::array<char, words * word_size> text;
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint64_t word = slot.request[i].load(std::memory_order_relaxed);
    std::memcpy(text.data() + i * word_size, &word, word_size);
  }
  const auto end = std::ranges::find(text, '\0');
  const std::string_view noted(text.data(), static_cast<std::size_t>(end - text.begin()));
  std::string shown(noted);
  // One byte that is no UTF-8 would make the journal show the whole line as a blob.
  if (!is_valid_utf8(noted))
    std::ranges::replace_if(
        shown, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return printable(shown, shown.size());
}

}  // namespace green
