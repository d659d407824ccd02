// Puts a site's settings together: command line > environment > file > default, and where each came
// from.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common/fd.h"
#include "common/names.h"
#include "common/settings_toml.h"
#include "common/text.h"

namespace green {
namespace {

constexpr std::size_t longest_file = 1U << 20;

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

Result<std::string> read_file(const std::string& path) {
  const auto refuse = [&path](int error) {
    const std::string reason = Error::from_errno(path, error).message();
    if (error == ENOENT)
      return invalid(reason +
                     R"(; create it with at least: app = "module:attr" (see green.toml(5)))");
    return invalid(reason);
  };
  // O_NONBLOCK: a FIFO in the file's place must not hang the start.
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return refuse(errno);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return refuse(errno);
  if (!S_ISREG(status.st_mode)) return invalid(path + ": is not a regular file");
  std::string text;
  char chunk[16384];
  while (true) {
    const ssize_t count = ::read(file.get(), chunk, sizeof(chunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse(errno);
    if (count == 0) return text;
    text.append(chunk, static_cast<std::size_t>(count));
    if (text.size() > longest_file) return invalid(path + ": is larger than 1 MiB");
  }
}

/// Collects values source by source, the strongest last.
class Loader {
 public:
  Loader() {
    loaded_.values = default_settings();
    for (const Setting& setting : settings_table())
      loaded_.origins.emplace(setting.name, "default");
  }

  Result<void> take_file(const std::string& path) {
    const auto text = read_file(path);
    if (!text) return fail(text.error());
    auto entries = read_toml(*text, path);
    if (!entries) return fail(std::move(entries).error());
    for (TomlEntry& entry : *entries) {
      const std::string origin = fmt::format("{}:{}", path, entry.line);
      const Setting& setting = *entry.setting;
      const bool is_shown = !setting.is_secret && setting.type != SettingType::string_list;
      const std::string what = is_shown ? fmt::format("{}: {} = {}", origin, setting.name,
                                                      printable(toml_value(entry.value)))
                                        : fmt::format("{}: {}", origin, setting.name);
      if (auto taken = take(setting, std::move(entry.value), origin, what); !taken) return taken;
    }
    return {};
  }

  Result<void> take_environment(const SettingSources& sources) {
    for (const std::string& name : sources.environment_names) {
      if (!name.starts_with(environment_prefix) || name == bus_environment_variable) continue;
      std::string key = name.substr(environment_prefix.size());
      std::ranges::transform(key, key.begin(), [](char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      });
      if (find_setting(key) != nullptr) continue;
      if (const Setting* nearest = find_setting(nearest_setting(key)))
        return invalid(fmt::format("environment {}: unknown setting; did you mean {}?",
                                   printable(name), setting_variable(*nearest)));
    }
    if (!sources.environment) return {};
    for (const Setting& setting : settings_table()) {
      const std::string variable = setting_variable(setting);
      const char* const text = sources.environment(variable.c_str());
      if (text == nullptr) continue;
      const std::string origin = "environment " + variable;
      if (auto taken = take_text(setting, split_items(setting, text), origin, origin); !taken)
        return taken;
    }
    return {};
  }

  Result<void> take_command_line(const SettingSources& sources) {
    for (const auto& [name, items] : sources.command_line) {
      const Setting* setting = find_setting(name);
      if (setting == nullptr) return invalid("command line: " + unknown_setting(name));
      // greend's argument, not an option.
      const std::string place = name == "app" ? "application" : setting_option(*setting);
      if (auto taken = take_text(*setting, items, "command line", place); !taken) return taken;
    }
    return {};
  }

  Result<LoadedSettings> finish(const SettingSources& sources) && {
    if (!loaded_.values.app.empty()) return std::move(loaded_);
    if (sources.file)
      return invalid(
          sources.file->string() +
          R"(: no application is named: add app = "module:attr", such as app = "wsgi:application")");
    return invalid(
        R"(no application is named: give one as module:attr, such as "greend wsgi:application")");
  }

 private:
  Result<void> take_text(const Setting& setting, const StringList& items, const std::string& origin,
                         const std::string& place) {
    const bool is_shown =
        items.size() == 1 && !setting.is_secret && setting.type != SettingType::string_list;
    const std::string what =
        is_shown ? fmt::format("{}={}", place, printable(items.front())) : place;
    auto value = parse_items(setting, items);
    if (!value) return fail(std::move(value).error().context(what));
    return take(setting, *std::move(value), origin, what);
  }

  Result<void> take(const Setting& setting, SettingValue value, const std::string& origin,
                    const std::string& what) {
    if (auto checked = check_value(setting, value); !checked)
      return fail(std::move(checked).error().context(what));
    std::string& known = loaded_.origins.find(setting.name)->second;
    if (auto* map = std::get_if<StringMap>(&value); map != nullptr && known != "default") {
      map->merge(std::get<StringMap>(value_of(setting, loaded_.values)));
      known += ", " + origin;
    } else {
      known = origin;
    }
    store_value(setting, std::move(value), loaded_.values);
    return {};
  }

  LoadedSettings loaded_;
};

}  // namespace

Result<LoadedSettings> load_settings(const SettingSources& sources) {
  Loader loader;
  if (sources.file)
    if (auto taken = loader.take_file(sources.file->string()); !taken) return fail(taken.error());
  if (auto taken = loader.take_environment(sources); !taken) return fail(taken.error());
  if (auto taken = loader.take_command_line(sources); !taken) return fail(taken.error());
  return std::move(loader).finish(sources);
}

}  // namespace green
