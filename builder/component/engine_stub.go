package component

import "context"

type call struct{}

func executeBash(context.Context, *call) (map[string]string, error)   { return nil, nil }
func executeBinary(context.Context, *call) (map[string]string, error) { return nil, nil }
func webDownload(context.Context, *call) (map[string]string, error)   { return nil, nil }
func copyFile(context.Context, *call) (map[string]string, error)      { return nil, nil }
func createFile(context.Context, *call) (map[string]string, error)    { return nil, nil }
func deleteFile(context.Context, *call) (map[string]string, error)    { return nil, nil }
func createFolder(context.Context, *call) (map[string]string, error)  { return nil, nil }
func reboot(context.Context, *call) (map[string]string, error)        { return nil, nil }
