// completion bash | zsh | fish: written from the parser itself, so it knows every command and flag.
#include "client/cli/commands.h"
#include "fmt/core.h"

namespace stepback::cli {
namespace {

// "model list" -> its flags and subcommands, for every command below `app`.
void Collect(const CLI::App& app, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& words) {
  std::string list;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    list += command->get_name() + " ";
    Collect(*command, path.empty() ? command->get_name() : path + " " + command->get_name(), words);
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) list += "--" + name + " ";
  }
  words.emplace_back(path, list);
}

std::string Cases(const CLI::App& root) {
  std::vector<std::pair<std::string, std::string>> words;
  Collect(root, "", words);
  std::string cases;
  for (const auto& [path, list] : words) cases += fmt::format("    '{}') words='{}' ;;\n", path, list);
  return cases;
}

std::string Bash(const CLI::App& root) {
  return fmt::format(R"(_stepback() {{
  local path='' word words=''
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in -*) ;; *) path="${{path:+$path }}$word" ;; esac
  done
  case $path in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _stepback stepback
)",
                     Cases(root));
}

std::string Fish(const CLI::App& root) {
  std::vector<std::pair<std::string, std::string>> words;
  Collect(root, "", words);
  std::string lines = "complete -c stepback -f\n";
  for (const auto& [path, list] : words) {
    const std::string condition =
        path.empty() ? "__fish_use_subcommand" : "__fish_seen_subcommand_from " + path;
    lines += fmt::format("complete -c stepback -n '{}' -a '{}'\n", condition, list);
  }
  return lines;
}

absl::Status Print(const CLI::App& root, const std::string& shell) {
  if (shell == "fish") {
    fmt::print("{}", Fish(root));
  } else {
    fmt::print("{}{}", shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit\n" : "", Bash(root));
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterCompletion(CLI::App& app, Context& context) {
  const auto shell = std::make_shared<std::string>();
  AddCommand(app, context, "completion", "Print the completion script of a shell",
             [&app, shell] { return Print(app, *shell); })
      ->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace stepback::cli
