// Small questions about text: is it UTF-8, may it be shown, how near are two words. Any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace green {

/// Without spaces and tabs at both ends.
std::string_view trim(std::string_view text);
/// NUL counts as invalid: no setting, path or variable can hold one.
bool is_valid_utf8(std::string_view text);
/// Fit for one line of a message: control characters escaped, text past `longest` bytes cut off.
std::string printable(std::string_view text, std::size_t longest = 100);
/// Insertions, deletions, substitutions and swaps of neighbours between two words.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace green
