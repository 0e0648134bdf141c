// What the library of the engine shows to those that link it; all else stays inside.
#pragma once

#define D3_API __attribute__((visibility("default")))
