// Makes green.toml(5): copies a template and puts the table of settings, as an mdoc list, where the
// template says @SETTINGS@. Runs at build time. One thread.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "common/settings.h"

namespace green {
namespace {

/// Text that roff takes literally, in lines of the length that mandoc's lint asks for.
std::string roff(std::string_view text) {
  constexpr std::size_t longest = 76;
  std::string escaped;
  std::size_t line_start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t word_end = std::min(text.find(' ', i + 1), text.size());
    const bool is_break = text[i] == ' ' && escaped.size() + word_end - i - line_start > longest;
    if (i == 0 || is_break) {
      if (is_break) escaped += '\n';
      line_start = escaped.size();
      // A line that begins with one of these would be a request.
      const char first = is_break ? text[i + 1] : text[i];
      if (first == '.' || first == '\'') escaped += "\\&";
      if (is_break) continue;
    }
    if (text[i] == '\\')
      escaped += "\\e";
    else if (text[i] == '-')
      escaped += "\\-";
    else
      escaped += text[i];
  }
  return escaped;
}

std::string type_of(const Setting& setting) {
  switch (setting.type) {
    case SettingType::string:
      return "string";
    case SettingType::integer:
      return fmt::format("{} to {}{}", setting.minimum, setting.maximum,
                         setting.automatic == nullptr ? "" : ", or \"auto\"");
    case SettingType::duration:
      return fmt::format("duration up to {} s", setting.maximum);
    case SettingType::choice: {
      std::string choices = "\"";
      for (const char c : setting.choices) choices += c == '|' ? "\", \"" : std::string(1, c);
      return choices + "\"";
    }
    case SettingType::string_list:
      return "string or array of strings";
    case SettingType::string_map:
      return "table of strings";
  }
  return {};
}

std::string default_of(const Setting& setting) {
  if (setting.default_text.empty()) return "none";
  if (setting.unit.empty()) return std::string(setting.default_text);
  return fmt::format("{} {}", setting.default_text, setting.unit == "seconds" ? "s" : setting.unit);
}

std::string list_settings() {
  std::string list = ".Bl -tag -width Ds\n";
  for (const Setting& setting : settings_table()) {
    list += fmt::format(".It Ic {}\n{}.\n.br\n", setting.name, roff(setting.help));
    list += fmt::format("Value: {}.\nDefault: {}.\n", roff(type_of(setting)),
                        roff(default_of(setting)));
    list += fmt::format("Variable:\n.Ev {} .\n", setting_variable(setting));
    if (setting.name != "app")
      list += fmt::format("Option:\n.Li {} .\n", roff(setting_option(setting)));
    list += setting.scope == SettingScope::restart
                ? "A change needs a restart: a reload does not see it.\n"
                : "A change takes effect at a reload.\n";
  }
  return list + ".El\n";
}

int run(const char* template_path, const char* page_path) {
  std::ifstream input(template_path);
  std::ofstream output(page_path);
  bool has_place = false;
  for (std::string line; std::getline(input, line);) {
    if (line == "@SETTINGS@") {
      output << list_settings();
      has_place = true;
    } else {
      output << line << "\n";
    }
  }
  output.flush();
  if (has_place && output) return 0;
  std::fprintf(stderr, "settings_manual: cannot make %s of %s\n", page_path, template_path);
  return 1;
}

}  // namespace
}  // namespace green

int main(int argc, char** argv) {
  if (argc == 3) return green::run(argv[1], argv[2]);
  std::fputs("usage: settings_manual TEMPLATE PAGE\n", stderr);
  return 2;
}
