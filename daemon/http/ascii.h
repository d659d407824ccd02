// ASCII comparisons and character classes of HTTP's grammar (RFC 9110, 5.6.2). No thread affinity.
#pragma once

#include <array>
#include <string_view>

namespace green::http {

constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// `lower` is in lower case.
constexpr bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (ascii_lower(text[i]) != lower[i]) return false;
  }
  return true;
}

constexpr bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

constexpr std::array<bool, 256> make_set(std::string_view others) {
  std::array<bool, 256> set{};
  for (int i = 0; i < 256; ++i)
    set[static_cast<std::size_t>(i)] = is_alphanumeric(static_cast<char>(i));
  for (char c : others) set[static_cast<unsigned char>(c)] = true;
  return set;
}

inline constexpr auto token_characters = make_set("!#$%&'*+-.^_`|~");

constexpr bool is_token_character(char c) {
  return token_characters[static_cast<unsigned char>(c)];
}
/// Looks at every character, without a branch for each: nearly always all of them are.
constexpr bool is_all_of(std::string_view text, const std::array<bool, 256>& set) {
  bool is_all = true;
  for (char c : text) is_all &= set[static_cast<unsigned char>(c)];
  return is_all;
}
constexpr bool is_token(std::string_view text) {
  return !text.empty() && is_all_of(text, token_characters);
}

constexpr std::string_view trim_whitespace(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Takes the next element off a comma-separated list, trimmed; empty elements come as empty.
constexpr std::string_view next_element(std::string_view& list) {
  const auto comma = list.find(',');
  const auto element = trim_whitespace(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  return element;
}

}  // namespace green::http
