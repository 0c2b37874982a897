module github.com/keysteward/keysteward/scripts/tools/pause

go 1.26.8

tool github.com/keysteward/keysteward/scripts/tools/pause
