package aws

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
)

// Component implements component.ComponentSource. An ARN without a build number
// stands for the latest build of that version.
func (s *Services) Component(ctx context.Context, arn string) (string, error) {
	client, err := s.imageBuilder(ctx, arn)
	if err != nil {
		return "", err
	}
	if strings.Count(arn, "/") < 3 {
		if arn, err = latestBuild(ctx, client, arn); err != nil {
			return "", err
		}
	}
	out, err := client.GetComponent(ctx, &imagebuilder.GetComponentInput{ComponentBuildVersionArn: &arn})
	if err != nil {
		return "", plain(err)
	}
	if out.Component == nil || sdk.ToString(out.Component.Data) == "" {
		return "", errors.New("Image Builder does not hand out the document of this component")
	}
	return *out.Component.Data, nil
}

// imageBuilder is the service in the region of the component.
func (s *Services) imageBuilder(ctx context.Context, arn string) (*imagebuilder.Client, error) {
	region, err := regionOf(arn)
	if err != nil {
		return nil, err
	}
	cfg, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	return imagebuilder.NewFromConfig(cfg, func(o *imagebuilder.Options) {
		o.Region = region
		if endpoint := s.getenv(EndpointVariable); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}), nil
}

func latestBuild(ctx context.Context, client *imagebuilder.Client, version string) (string, error) {
	latest, highest := "", 0
	pages := imagebuilder.NewListComponentBuildVersionsPaginator(client, &imagebuilder.ListComponentBuildVersionsInput{ComponentVersionArn: &version})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", plain(err)
		}
		for _, summary := range page.ComponentSummaryList {
			arn := sdk.ToString(summary.Arn)
			build, err := strconv.Atoi(arn[strings.LastIndexByte(arn, '/')+1:])
			if err == nil && build > highest {
				latest, highest = arn, build
			}
		}
	}
	if latest == "" {
		return "", fmt.Errorf("version %s has no builds", version)
	}
	return latest, nil
}
