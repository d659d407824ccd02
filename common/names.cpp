#include "common/names.h"

#include <charconv>

namespace green {
namespace {

constexpr bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool is_valid_site_name(std::string_view site) {
  if (site.empty() || site.size() > 64 || site.front() == '.' || site.front() == '-') return false;
  for (char c : site)
    if (!is_alphanumeric(c) && c != '_' && c != '.' && c != '-') return false;
  return true;
}

std::string bus_name_of_site(std::string_view site) {
  constexpr char hex[] = "0123456789abcdef";
  std::string name(bus_name_prefix);
  for (std::size_t i = 0; i < site.size(); ++i) {
    const char c = site[i];
    // A bus name element may hold [A-Za-z0-9_-] and may not start with a digit (D-Bus
    // specification).
    if ((is_alphanumeric(c) && !(i == 0 && is_digit(c))) || c == '-') {
      name += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      name += '_';
      name += hex[byte >> 4];
      name += hex[byte & 15];
    }
  }
  return name;
}

std::string site_of_bus_name(std::string_view name) {
  if (!name.starts_with(bus_name_prefix)) return {};
  name.remove_prefix(bus_name_prefix.size());
  std::string site;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != '_') {
      site += name[i];
      continue;
    }
    unsigned byte = 0;
    if (i + 2 >= name.size()) return {};
    const auto [end, error] = std::from_chars(name.data() + i + 1, name.data() + i + 3, byte, 16);
    if (error != std::errc{} || end != name.data() + i + 3) return {};
    site += static_cast<char>(byte);
    i += 2;
  }
  return is_valid_site_name(site) ? site : std::string{};
}

}  // namespace green
