#include "common/request_note.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/text.h"

namespace green {
namespace {

constexpr std::size_t word_size = sizeof(std::uint64_t);
constexpr std::size_t words = std::tuple_size_v<decltype(ScoreboardSlot::request)>;
constexpr std::size_t room = words * word_size - 1;  // the rest is the final NUL
constexpr std::size_t client_words = std::tuple_size_v<decltype(ScoreboardSlot::client)>;
constexpr std::string_view cut_off = "…";

/// As many words as `text` and a NUL need, or all there are.
template <std::size_t words>
void store(std::array<std::atomic<std::uint64_t>, words>& target, const char* text,
           std::size_t size) {
  const std::size_t used = std::min(size / word_size + 1, words);
  for (std::size_t i = 0; i < used; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, text + i * word_size, word_size);
    target[i].store(word, std::memory_order_relaxed);
  }
}

template <std::size_t words>
std::string load(const std::array<std::atomic<std::uint64_t>, words>& source) {
  std::array<char, words * word_size> text;
  for (std::size_t i = 0; i < words; ++i) {
    const std::uint64_t word = source[i].load(std::memory_order_relaxed);
    std::memcpy(text.data() + i * word_size, &word, word_size);
  }
  const auto end = std::ranges::find(text, '\0');
  return fit_for_a_line({text.data(), static_cast<std::size_t>(end - text.begin())});
}

}  // namespace

void note_request(ScoreboardSlot& slot, std::string_view method, std::string_view path,
                  std::string_view client) {
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
  const std::size_t end = (size / word_size + 1) * word_size;
  std::memset(text.data() + size, 0, end - size);
  store(slot.request, text.data(), size);
  std::array<char, client_words * word_size> address{};
  client.copy(address.data(), address.size());
  store(slot.client, address.data(), std::min(client.size(), address.size()));
}

std::string fit_for_a_line(std::string_view text) {
  std::string shown(text);
  // One byte that is no UTF-8 would make the journal show the whole line as a blob.
  if (!is_valid_utf8(text))
    std::ranges::replace_if(
        shown, [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return printable(shown, shown.size());
}

std::string noted_request(const ScoreboardSlot& slot) { return load(slot.request); }
std::string noted_client(const ScoreboardSlot& slot) { return load(slot.client); }

}  // namespace green
